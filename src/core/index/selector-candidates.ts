import { Bitmap } from './bitmap.js';
import type { MatchSet } from './match-set.js';
import type { PreparedFilter } from './prepared-filter.js';
import type { QueryNode } from './query-trie.js';
import { TermSlots, type TermSlotsOptions } from './term-slots.js';

/** Number of candidates that are compared with a filter, because other lists would take longer. */
const FEW_CANDIDATES = 64;

/** Slots that include all matches of a filter. If they are exact, those whose replica has one capability object match. */
export interface FoundCandidates {
  readonly slots: Bitmap;
  readonly isExact: boolean;
}

/** Finds the registrations that can match a filter from the lists of pairs, without comparing their capabilities. */
export class SelectorCandidates {
  readonly #options: TermSlotsOptions;

  constructor(options: TermSlotsOptions) {
    this.#options = options;
  }

  /** Returns the shortest list of the filter's pairs, or all entries if it has no pairs. Undefined if nothing can match. */
  findList({ query }: PreparedFilter): MatchSet | undefined {
    let shortest: MatchSet | undefined;
    for (let index = 0; index < query.pairs.length; index += 2) {
      const number = this.#options.pairs.find(query.pairs[index] as string, query.pairs[index + 1] as string);
      if (number === undefined) return undefined;
      const list = getMatches(this.#options.trie.getList(number));
      if (!shortest || list.size < shortest.size) shortest = list;
    }
    return shortest ?? getMatches(this.#options.trie.root);
  }

  /** Finds the slots that can match. */
  findAll({ query, selector }: PreparedFilter): FoundCandidates {
    const numbers = this.#options.pairs.findAll(query.pairs);
    if (!numbers) return { slots: new Bitmap(), isExact: true };
    const nodes = numbers.map((number) => this.#options.trie.getList(number));
    const shortest = nodes.reduce<QueryNode | undefined>(pickShorter, undefined);
    // Checking few candidates takes less time than intersecting long lists.
    if (shortest && getMatches(shortest).size <= FEW_CANDIDATES)
      return { slots: toBitmap(getMatches(shortest)), isExact: false };
    const terms = new TermSlots(this.#options);
    const found = [
      ...numbers.map((number) => terms.unite([number])),
      ...selector.terms.map((term) => terms.find(term)),
    ];
    const slots = new Bitmap();
    slots.addAll(this.#options.used);
    for (const one of found) if (one) slots.keepCommon(one);
    return { slots, isExact: !found.includes(undefined) };
  }

  /** Returns those of these slots that must be compared with a filter even if the candidates are exact. */
  keepThoseToCheck(slots: Bitmap): Bitmap {
    const kept = new Bitmap();
    kept.addAll(this.#options.needsObjectCheck);
    kept.keepCommon(slots);
    return kept;
  }
}

function pickShorter(one: QueryNode | undefined, other: QueryNode): QueryNode {
  return one && getMatches(one).size <= getMatches(other).size ? one : other;
}

function getMatches(node: QueryNode): MatchSet {
  return node.matches as MatchSet;
}

function toBitmap({ slots }: MatchSet): Bitmap {
  const bitmap = new Bitmap();
  for (const slot of slots) bitmap.add(slot);
  return bitmap;
}
