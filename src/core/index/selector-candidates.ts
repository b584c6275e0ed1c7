import type { SelectorTerm } from '../selector.js';
import { Bitmap } from './bitmap.js';
import type { MatchSet } from './match-set.js';
import type { PairTable } from './pair-table.js';
import type { PreparedFilter } from './prepared-filter.js';
import { SHORT_LIST } from './query-search.js';
import type { QueryNode, QueryTrie } from './query-trie.js';

/** Finds the registrations that can match a filter from the lists of pairs, without comparing their capabilities. */
export class SelectorCandidates {
  readonly #pairs: PairTable;
  readonly #trie: QueryTrie;

  constructor(pairs: PairTable, trie: QueryTrie) {
    this.#pairs = pairs;
    this.#trie = trie;
  }

  /** Returns the shortest list of the filter's pairs, or all entries if it has no pairs. Undefined if nothing can match. */
  findList({ query }: PreparedFilter): MatchSet | undefined {
    let shortest: MatchSet | undefined;
    for (let index = 0; index < query.pairs.length; index += 2) {
      const number = this.#pairs.find(query.pairs[index] as string, query.pairs[index + 1] as string);
      if (number === undefined) return undefined;
      const list = getMatches(this.#trie.getList(number));
      if (!shortest || list.size < shortest.size) shortest = list;
    }
    return shortest ?? getMatches(this.#trie.root);
  }

  /**
   * Returns slots that include all matches: those in the lists of all pairs and, for each term `in`, in the list of one of
   * its values.
   */
  findAll({ query, selector }: PreparedFilter): Bitmap {
    const nodes = this.#findNodes(query.pairs);
    if (!nodes) return new Bitmap();
    const bitmaps = nodes[0] ? [toBitmap([getMatches(nodes[0])])] : [];
    // Checking few candidates takes less time than intersecting long lists.
    if (nodes[0] && getMatches(nodes[0]).size <= SHORT_LIST) return bitmaps[0] as Bitmap;
    bitmaps.push(...selector.terms.flatMap((term) => this.#findWithTerm(term) ?? []));
    const all = bitmaps[0] ?? toBitmap([getMatches(this.#trie.root)]);
    for (const bitmap of [...bitmaps.slice(1), ...nodes.slice(1).map(({ bitmap }) => bitmap)]) {
      if (bitmap) intersect(all, bitmap);
    }
    return all;
  }

  /** Returns the nodes of the lists of these pairs, the shortest first; undefined if no replica has one of the pairs. */
  #findNodes(pairs: PreparedFilter['query']['pairs']): QueryNode[] | undefined {
    const numbers = this.#pairs.findAll(pairs);
    return numbers?.map((number) => this.#trie.getList(number)).sort((a, b) => getMatches(a).size - getMatches(b).size);
  }

  /** Returns the slots with one of the values of a term `in`; undefined for other terms, or if reading the lists takes long. */
  #findWithTerm(term: SelectorTerm): Bitmap | undefined {
    if (term.kind !== 'in') return undefined;
    const lists: MatchSet[] = [];
    let size = 0;
    term.values.forEach((value) => {
      const number = this.#pairs.find(term.key, value);
      if (number === undefined) return;
      const list = getMatches(this.#trie.getList(number));
      size += list.size;
      lists.push(list);
    });
    // A replica with several objects is in several lists, so they can be longer than the list of all entries.
    return size <= getMatches(this.#trie.root).size ? toBitmap(lists) : undefined;
  }
}

function getMatches(node: QueryNode): MatchSet {
  return node.matches as MatchSet;
}

function toBitmap(lists: readonly MatchSet[]): Bitmap {
  const bitmap = new Bitmap();
  for (const { slots } of lists) for (const slot of slots) bitmap.add(slot);
  return bitmap;
}

/** Removes the members of a bitmap that another one doesn't have. */
function intersect({ words }: Bitmap, other: Bitmap): void {
  for (let index = 0; index < words.length; index++) {
    words[index] = (words[index] as number) & (other.words[index] ?? 0);
  }
}
