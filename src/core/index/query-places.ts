import type { CapabilityQuery } from '../capability.js';
import type { PairTable } from './pair-table.js';
import type { QueryNode } from './query-trie.js';

/** Where the result of a query is held, which is so for as long as no number of a pair becomes another's. */
interface Place {
  readonly node: QueryNode;
  readonly freed: number;
}

/**
 * Where the results of queries are held, by the query objects themselves: an API server asks again with what it has read
 * before, and to look its pairs up takes longer than all the rest of a choice.
 */
export class QueryPlaces {
  readonly #pairs: PairTable;
  readonly #places = new WeakMap<CapabilityQuery, Place>();

  constructor(pairs: PairTable) {
    this.#pairs = pairs;
  }

  /** The node that holds what matches a query, where that is known. */
  find(query: CapabilityQuery): QueryNode | undefined {
    const place = this.#places.get(query);
    return place && place.freed === this.#pairs.freed && place.node.matches ? place.node : undefined;
  }

  /** Notes the node of a query, from the second time in a row on: to note each of those that never come again costs more. */
  note(query: CapabilityQuery, node: QueryNode): void {
    if (node.askedWith === query) this.#places.set(query, { node, freed: this.#pairs.freed });
    else node.askedWith = query;
  }
}
