import type { Random } from '../ports.js';
import type { Bitmap } from './bitmap.js';
import { type EntryTable, MatchSet, MatchSetGroup } from './match-set.js';

/** Limits of the cached results. They exist because callers choose the queries. */
export interface TrieLimits {
  /** Maximum number of cached results. */
  readonly maxResults: number;
  /** Maximum number of matches of a result when it is cached. A result that grows to twice as many is evicted. */
  readonly maxMatches: number;
  /**
   * Total number of cached matches allowed per registration. The limit is this times the number of registrations, plus
   * {@link MIN_TOTAL_MATCHES}.
   */
  readonly maxMatchesPerReplica: number;
}

/** Floor for the total size of cached results, so that small registries can still cache. */
const MIN_TOTAL_MATCHES = 65_536;

/** Number of results that an eviction compares. */
const EVICTION_SAMPLES = 8;

/** A node of the trie of queries. The pairs on the path to it, ascending, are its query. */
export class QueryNode {
  /** The matches of the node's query. Undefined if the node is only on the path to others. */
  matches: MatchSet | undefined;
  /** The matches as a bitmap. Only the long list of a single pair has one. */
  bitmap: Bitmap | undefined;
  /** The children by their pair. Undefined until there is one: most pairs belong to one replica and never get any. */
  children: Map<number, QueryNode> | undefined;
  readonly pair: number;
  readonly parent: QueryNode | undefined;
  /** Time of the last use, as the trie's count of uses. */
  usedAt = 0;
  /** Position in the trie's list of cached results. */
  cachedAt = 0;

  constructor(pair: number, parent?: QueryNode) {
    this.pair = pair;
    this.parent = parent;
  }
}

/**
 * A trie whose paths are queries, as ascending pair numbers. The root holds all entries. A node of depth 1 holds the list of
 * the entries that have its pair, and stays while any replica has the pair. A deeper node holds a cached result, until it is
 * evicted or grows too large.
 */
export class QueryTrie {
  readonly root = new QueryNode(-1);
  readonly #limits: TrieLimits;
  readonly #lists: MatchSetGroup;
  readonly #results: MatchSetGroup;
  /** The nodes of depth 1 by their pair. An array, because pair numbers are dense. */
  readonly #listNodes: (QueryNode | undefined)[] = [];
  readonly #cached: QueryNode[] = [];
  #uses = 0;

  constructor(table: EntryTable, limits: TrieLimits) {
    this.#limits = limits;
    this.#lists = new MatchSetGroup(table);
    this.#results = new MatchSetGroup(table);
    this.root.matches = new MatchSet(this.#lists);
  }

  /** The node with the list of a pair. Created on first use, and dropped by {@link dropList}. */
  getList(pair: number): QueryNode {
    let node = this.#listNodes[pair];
    if (!node) {
      node = new QueryNode(pair, this.root);
      node.matches = new MatchSet(this.#lists);
      this.#listNodes[pair] = node;
    }
    return node;
  }

  /**
   * Drops the list of a pair that no replica has. The number of the pair will be reused. Cached results for queries with the
   * pair are empty by then. They stay correct for the next pair with this number, because entries with that pair are added to
   * them.
   */
  dropList(pair: number): void {
    this.#listNodes[pair] = undefined;
  }

  /** Finds the node of a query, if its matches are held there. */
  find(pairs: readonly number[]): QueryNode | undefined {
    let node = pairs.length === 0 ? this.root : this.#listNodes[pairs[0] as number];
    for (let index = 1; index < pairs.length && node; index++) node = node.children?.get(pairs[index] as number);
    return node?.matches && node;
  }

  /** Returns the matches of a node, and marks it as used. */
  use(node: QueryNode): MatchSet {
    node.usedAt = ++this.#uses;
    return node.matches as MatchSet;
  }

  /** Caches the matches of a query. Evicts others to make room. */
  cache(pairs: readonly number[], matching: readonly number[], random: Random): void {
    const hasRoom = (): boolean =>
      this.#cached.length < this.#limits.maxResults && this.#results.members + matching.length <= this.#getMaxMembers();
    while (!hasRoom() && this.#cached.length > 0) this.#evict(this.#pickLeastRecentlyUsed(random));
    let node = this.getList(pairs[0] as number);
    for (const pair of pairs.slice(1)) {
      node.children ??= new Map();
      let child = node.children.get(pair);
      if (!child) {
        child = new QueryNode(pair, node);
        node.children.set(pair, child);
      }
      node = child;
    }
    node.matches = new MatchSet(this.#results);
    for (const slot of matching) node.matches.add(slot);
    node.usedAt = ++this.#uses;
    node.cachedAt = this.#cached.push(node) - 1;
  }

  /** Evicts the nodes among these that are too large, or any of them while all results together are too large. */
  trim(grown: readonly QueryNode[]): void {
    for (const node of grown) {
      const isResult = node.parent !== undefined && node.parent !== this.root;
      if (!isResult) continue;
      const isTooLarge = (node.matches as MatchSet).size > 2 * this.#limits.maxMatches;
      if (isTooLarge || this.#results.members > this.#getMaxMembers()) this.#evict(node);
    }
  }

  #getMaxMembers(): number {
    return MIN_TOTAL_MATCHES + this.#limits.maxMatchesPerReplica * (this.root.matches as MatchSet).size;
  }

  #evict(node: QueryNode): void {
    const last = this.#cached.pop() as QueryNode;
    if (last !== node) this.#cached[node.cachedAt] = last;
    last.cachedAt = node.cachedAt;
    node.matches?.clear();
    node.matches = undefined;
    // Removes nodes without children and matches on the path to the root. Lists have matches, so they stay.
    for (let ancestor = node; ancestor.parent; ancestor = ancestor.parent) {
      if (!ancestor.children?.size && !ancestor.matches) ancestor.parent.children?.delete(ancestor.pair);
    }
  }

  /** Approximate LRU: the least recently used of a few random results. */
  #pickLeastRecentlyUsed(random: Random): QueryNode {
    const pick = (): QueryNode => this.#cached[Math.floor(random.fraction() * this.#cached.length)] as QueryNode;
    const picked = Array.from({ length: EVICTION_SAMPLES }, pick);
    return picked.reduce((oldest, node) => (node.usedAt < oldest.usedAt ? node : oldest));
  }
}
