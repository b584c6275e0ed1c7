import { holdsForValue, type SelectorTerm } from '../selector.js';
import { Bitmap } from './bitmap.js';
import type { MatchSet } from './match-set.js';
import type { PairTable } from './pair-table.js';
import type { QueryNode, QueryTrie } from './query-trie.js';

/** Maximum number of values of a key that a term is compared with. Comparing a number takes about 0.3 µs. */
const MAX_VALUES = 2048;

/** Maximum work for one filter, in slots and words of bitmaps, as a multiple of the number of registrations. */
const MAX_WORK = 4;

/** Work that a small registry allows in any case. */
const MIN_WORK = 4096;

/** The parts of an index that answer terms. */
export interface TermSlotsOptions {
  readonly pairs: PairTable;
  readonly trie: QueryTrie;
  /** All slots with a registration. */
  readonly used: Bitmap;
  /** The slots whose replica doesn't have exactly one capability object. */
  readonly needsObjectCheck: Bitmap;
}

/**
 * Finds the slots that satisfy terms of one filter from the lists of pairs: those of all values of the key that satisfy the term,
 * or all others. The slots include every match, and are exact for replicas with one capability object.
 */
export class TermSlots {
  readonly #options: TermSlotsOptions;
  #work: number;

  constructor(options: TermSlotsOptions) {
    this.#options = options;
    this.#work = Math.max(MIN_WORK, MAX_WORK * getList(options.trie.root).size);
  }

  /** Returns the slots of a term, which the caller can change. Undefined if finding them would take long. */
  find(term: SelectorTerm): Bitmap | undefined {
    const { pairs } = this.#options;
    const numbers = pairs.listNumbers(term.key, MAX_VALUES);
    if (!numbers) return undefined;
    const isNegative = holdsForValue(term, undefined);
    // For a negative term, the values that it forbids.
    const listed = numbers.filter((number) => holdsForValue(term, pairs.getValue(number)) !== isNegative);
    const slots = this.unite(listed);
    return slots && isNegative ? this.#complement(slots) : slots;
  }

  /** Returns the slots that have one of these pairs, which the caller can change. Undefined if that would take long. */
  unite(numbers: readonly number[]): Bitmap | undefined {
    const nodes = numbers.map((number) => this.#options.trie.getList(number));
    for (const { bitmap, matches } of nodes) this.#work -= bitmap?.words.length ?? (matches as MatchSet).size;
    if (this.#work < 0) return undefined;
    const united = new Bitmap();
    for (const node of nodes) {
      if (node.bitmap) united.addAll(node.bitmap);
      else for (const slot of getList(node).slots) united.add(slot);
    }
    return united;
  }

  /** Returns the slots that are not in a bitmap, and those whose other objects can match. */
  #complement(slots: Bitmap): Bitmap {
    const { used, needsObjectCheck } = this.#options;
    const complement = new Bitmap();
    complement.addAll(used);
    complement.removeAll(slots);
    complement.addAll(needsObjectCheck);
    return complement;
  }
}

function getList(node: QueryNode): MatchSet {
  return node.matches as MatchSet;
}
