import type { CapabilityQuery } from '../capability.js';
import type { QueryNode } from './query-trie.js';

/**
 * A query that can be asked repeatedly, like a prepared statement of a database. It remembers where the index holds its matches:
 * looking its pairs up takes longer than the rest of a choice. The API server keeps the prepared queries
 * of recent requests, by their text. It can be used with any index.
 */
export class PreparedQuery {
  readonly pairs: CapabilityQuery;
  /** The index that answered last, and the node that holds the matches there. */
  #index: object | undefined;
  #node: QueryNode | undefined;
  /** The index's count of released pairs at that time. While it stays the same, every pair keeps its number. */
  #releases = 0;

  constructor(pairs: CapabilityQuery) {
    this.pairs = pairs;
  }

  /** The node that holds the matches in this index, if that is known and still true. */
  nodeIn(index: object, releases: number): QueryNode | undefined {
    const isCurrent = this.#index === index && this.#releases === releases;
    return isCurrent && this.#node?.matches ? this.#node : undefined;
  }

  /** Remembers the node that holds the matches in an index. */
  resolve(index: object, node: QueryNode, releases: number): void {
    this.#index = index;
    this.#node = node;
    this.#releases = releases;
  }
}
