import type { Bitmap } from './bitmap.js';
import type { CapabilityQuery } from './capability.js';
import { type EntryTable, MatchSet, MatchSetGroup } from './match-set.js';
import type { Random } from './ports.js';

/** How much is kept of results: anyone may ask anything. */
export interface TrieLimits {
  /** So many results. */
  readonly mostKept: number;
  /** Results of so many matches; larger ones are found by draws. One that grows to twice as many is given up. */
  readonly mostMatches: number;
  /** So many matches in all results for each registration, and {@link MATCHES_FOR_FEW} besides. */
  readonly mostMatchesEach: number;
}

/** So few matches of all results are nothing, however few the registrations are. */
const MATCHES_FOR_FEW = 65_536;

/** A node of the trie of queries: the pairs on the way to it, ascending, are its query. */
export class QueryNode {
  /** What matches the node's query; undefined where the node is only on the way to others. */
  matches: MatchSet | undefined;
  /** Of the matches, where these are many and have one pair. */
  bitmap: Bitmap | undefined;
  /** By the next pair of a query; undefined where there never was any, as with a pair that one replica has. */
  children: Map<number, QueryNode> | undefined;
  readonly pair: number;
  readonly parent: QueryNode | undefined;
  /** When it was last asked, in asks. */
  askedAt = 0;
  /** Where it is among the results that are kept. */
  keptAt = 0;
  /** The query object that it was last found for; see {@link QueryPlaces}. */
  askedWith: CapabilityQuery | undefined;

  constructor(pair: number, parent?: QueryNode) {
    this.pair = pair;
    this.parent = parent;
  }
}

/**
 * Queries as ways through interned pairs. The root holds all entries, and a node of one pair the list of those that have
 * it. Deeper ones hold results that are kept, until they are given up for others or have become too large.
 */
export class QueryTrie {
  readonly root = new QueryNode(-1);
  readonly #limits: TrieLimits;
  readonly #listed: MatchSetGroup;
  readonly #results: MatchSetGroup;
  /** The root's children, by their pairs: these numbers are dense. */
  readonly #lists: (QueryNode | undefined)[] = [];
  readonly #kept: QueryNode[] = [];
  /** Counts the times that any of the kept was asked. */
  #asks = 0;

  constructor(table: EntryTable, limits: TrieLimits) {
    this.#limits = limits;
    this.#listed = new MatchSetGroup(table);
    this.#results = new MatchSetGroup(table);
    this.root.matches = new MatchSet(this.#listed);
  }

  /** The list of a pair, which is there from its first use until {@link dropList}. */
  list(pair: number): QueryNode {
    let node = this.#lists[pair];
    if (!node) {
      node = new QueryNode(pair, this.root);
      node.matches = new MatchSet(this.#listed);
      this.#lists[pair] = node;
    }
    return node;
  }

  /**
   * Forgets the list of a pair that nobody has, and whose number will be another's. What is kept with the pair is empty by
   * then, and right for the next that has the number: whoever has that joins it.
   */
  dropList(pair: number): void {
    this.#lists[pair] = undefined;
  }

  /** The node of a query of these pairs, where what matches it is held. */
  find(pairs: readonly number[]): QueryNode | undefined {
    let node = pairs.length === 0 ? this.root : this.#lists[pairs[0] as number];
    for (let at = 1; at < pairs.length && node; at++) node = node.children?.get(pairs[at] as number);
    return node?.matches && node;
  }

  /** What a node holds, which is of use again. */
  use(node: QueryNode): MatchSet {
    node.askedAt = ++this.#asks;
    return node.matches as MatchSet;
  }

  /** Keeps what matches a query, if need be in the place of what was not asked for long. */
  keep(pairs: readonly number[], matching: readonly number[], random: Random): void {
    const hasRoom = (): boolean =>
      this.#kept.length < this.#limits.mostKept && this.#results.members + matching.length <= this.#mostMembers();
    while (!hasRoom() && this.#kept.length > 0) this.#giveUp(this.#notAskedForLong(random));
    let node = this.list(pairs[0] as number);
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
    node.askedAt = ++this.#asks;
    node.keptAt = this.#kept.push(node) - 1;
  }

  /** Gives those of these nodes up whose results have grown too large: by themselves, or all results together. */
  trim(grown: readonly QueryNode[]): void {
    for (const node of grown) {
      const isResult = node.parent !== undefined && node.parent !== this.root;
      if (!isResult) continue;
      const isTooLarge = (node.matches as MatchSet).size > 2 * this.#limits.mostMatches;
      if (isTooLarge || this.#results.members > this.#mostMembers()) this.#giveUp(node);
    }
  }

  #mostMembers(): number {
    return MATCHES_FOR_FEW + this.#limits.mostMatchesEach * (this.root.matches as MatchSet).size;
  }

  #giveUp(node: QueryNode): void {
    const last = this.#kept.pop() as QueryNode;
    if (last !== node) this.#kept[node.keptAt] = last;
    last.keptAt = node.keptAt;
    node.matches?.clear();
    node.matches = undefined;
    for (let at = node; at.parent; at = at.parent) {
      // A list stays, and so does what is on the way to others.
      if (!at.children?.size && !at.matches) at.parent.children?.delete(at.pair);
    }
  }

  /** The one not asked for the longest time, of a few. */
  #notAskedForLong(random: Random): QueryNode {
    const pick = (): QueryNode => this.#kept[Math.floor(random.fraction() * this.#kept.length)] as QueryNode;
    return Array.from({ length: 8 }, pick).reduce((oldest, node) => (node.askedAt < oldest.askedAt ? node : oldest));
  }
}
