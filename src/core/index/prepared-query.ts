import type { CapabilityQuery } from '../capability.js';
import type { QueryNode } from './query-trie.js';

/**
 * A query for repeated use, like a prepared statement of a database. It caches the node where the index holds its matches,
 * because looking up the pairs takes longer than the rest of a choice. The API server caches the prepared queries of recent
 * requests by their text. A prepared query can be used with any index.
 */
export class PreparedQuery {
  readonly pairs: CapabilityQuery;
  /** The index that was used last, and the node that holds the matches there. */
  #index: object | undefined;
  #node: QueryNode | undefined;
  /** The index's count of released pairs at that time. While it stays the same, every pair keeps its number. */
  #releases = 0;

  constructor(pairs: CapabilityQuery) {
    this.pairs = pairs;
  }

  /** Returns the node that holds the matches in this index, if it is cached and still valid. */
  findNode(index: object, releases: number): QueryNode | undefined {
    const isCurrent = this.#index === index && this.#releases === releases;
    return isCurrent && this.#node?.matches ? this.#node : undefined;
  }

  /** Caches the node that holds the matches in an index. */
  cacheNode(index: object, node: QueryNode, releases: number): void {
    this.#index = index;
    this.#node = node;
    this.#releases = releases;
  }
}
