import type { ReplicaId } from '../ids.js';
import type { Random } from '../ports.js';
import type { Registration, Replica } from '../replica.js';
import { Bitmap } from './bitmap.js';
import { ChangedSlots } from './changed-slots.js';
import { type Entry, MatchSet } from './match-set.js';
import { findMatchingNodes } from './matching-nodes.js';
import { PairTable } from './pair-table.js';
import type { PreparedFilter } from './prepared-filter.js';
import type { PreparedQuery } from './prepared-query.js';
import { QuerySearch, SHORT_LIST } from './query-search.js';
import { QueryTrie, type TrieLimits } from './query-trie.js';
import { SelectorCandidates } from './selector-candidates.js';
import { SELECTOR_LIMITS, SelectorSearch, type SelectorSearchLimits, UNFINISHED } from './selector-search.js';

/** Limits of what an index caches. */
export interface IndexLimits extends TrieLimits {
  /** Maximum number of pairs of a query whose result is cached. Each pair is a node of the trie. */
  readonly maxPairs: number;
}

const LIMITS: IndexLimits = { maxResults: 4096, maxMatches: 16_000, maxMatchesPerReplica: 64, maxPairs: 16 };

const NO_SLOTS: readonly number[] = [];

/**
 * Result of a search with a selector. `unfinished`: the search has used its time of this turn of the event loop, and the same
 * search in a later turn continues it.
 */
export type SearchResult<R extends Replica = Replica> =
  | { readonly kind: 'found'; readonly registration: Registration<R> }
  | { readonly kind: 'none' }
  | { readonly kind: 'unfinished' };

/**
 * Finds a registration by its capabilities. It has one writer, the registry's `apply`. The README beside this file explains
 * the algorithm.
 */
export class CapabilityIndex<R extends Replica = Replica> {
  readonly #pairs = new PairTable();
  /** The registration of each slot. Separate from the entries, because a choice reads only this list. */
  readonly #registrations: (Registration<R> | undefined)[] = [];
  readonly #entries: (Entry | undefined)[] = [];
  readonly #slotOf = new Map<ReplicaId, number>();
  readonly #freeSlots: number[] = [];
  /** The slots that have a registration. */
  readonly #used = new Bitmap();
  /** The slots whose replica doesn't have exactly one capability object. Its pairs can be spread over several objects. */
  readonly #needsObjectCheck = new Bitmap();
  readonly #trie: QueryTrie;
  readonly #search: QuerySearch;
  readonly #changes = new ChangedSlots();
  readonly #selectorSearch: SelectorSearch;

  constructor(limits: IndexLimits = LIMITS, selectorLimits: SelectorSearchLimits = SELECTOR_LIMITS) {
    this.#trie = new QueryTrie(this.#entries, limits);
    this.#search = new QuerySearch(this.#trie, this.#entries, this.#needsObjectCheck, limits);
    this.#selectorSearch = new SelectorSearch({
      candidates: new SelectorCandidates({
        pairs: this.#pairs,
        trie: this.#trie,
        used: this.#used,
        needsObjectCheck: this.#needsObjectCheck,
      }),
      registrations: this.#registrations,
      changes: this.#changes,
      limits: selectorLimits,
    });
  }

  /** Adds a registration. Replaces the registration with the same replica id. */
  put(registration: Registration<R>): void {
    const { id, capabilities } = registration.replica;
    // Use the pairs before the previous registration is removed. Then a pair that only this replica has keeps its number.
    const objects = capabilities.map((capability) => this.#pairs.useAll(capability.pairs));
    const previous = this.#slotOf.get(id);
    if (previous !== undefined) this.#remove(previous);
    const entry = { objects, memberships: [] };
    const slot = this.#freeSlots.pop() ?? this.#entries.length;
    this.#entries[slot] = entry;
    this.#registrations[slot] = registration;
    this.#slotOf.set(id, slot);
    this.#add(slot, entry);
  }

  /** Removes the registration with this replica id. */
  delete(id: ReplicaId): void {
    const slot = this.#slotOf.get(id);
    if (slot === undefined) return;
    this.#slotOf.delete(id);
    this.#remove(slot);
  }

  /**
   * Chooses a registration that has a capability object with every pair of the query. Each match is equally likely, however
   * many of its objects match. Never chooses an excluded one. The excluded must be few: they are searched linearly.
   */
  choose(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>, random: Random): Registration<R> | undefined {
    const slot = this.#chooseSlot(query, this.#findSlots(excluded), random);
    return slot === undefined ? undefined : this.#registrations[slot];
  }

  /** Chooses a registration that matches a filter, as {@link choose} does for a query. */
  search(filter: PreparedFilter, excluded: ReadonlySet<ReplicaId>, random: Random): SearchResult<R> {
    const slots = this.#findSlots(excluded);
    const slot =
      filter.selector.terms.length > 0
        ? this.#selectorSearch.choose(filter, slots, random)
        : this.#chooseSlot(filter.query, slots, random);
    if (slot === UNFINISHED) return { kind: 'unfinished' };
    const registration = slot === undefined ? undefined : this.#registrations[slot];
    return registration ? { kind: 'found', registration } : { kind: 'none' };
  }

  #findSlots(ids: ReadonlySet<ReplicaId>): readonly number[] {
    return ids.size > 0 ? [...ids].flatMap((id) => this.#slotOf.get(id) ?? []) : NO_SLOTS;
  }

  #chooseSlot(query: PreparedQuery, excluded: readonly number[], random: Random): number | undefined {
    const cachedNode = query.findNode(this, this.#pairs.releases);
    if (cachedNode) return this.#trie.use(cachedNode).choose(excluded, random);
    const pairs = this.#pairs.findAll(query.pairs);
    if (!pairs) return undefined;
    const node = this.#trie.find(pairs);
    if (!node) return this.#search.choose(pairs, excluded, random);
    query.cacheNode(this, node, this.#pairs.releases);
    return this.#trie.use(node).choose(excluded, random);
  }

  /** Adds an entry to the list of each of its pairs, and to each cached result that it matches. */
  #add(slot: number, entry: Entry): void {
    this.#changes.record(slot);
    this.#used.add(slot);
    if (entry.objects.length !== 1) this.#needsObjectCheck.add(slot);
    const nodes = findMatchingNodes(entry.objects, this.#trie);
    const sets = nodes.map((node) => node.matches as MatchSet);
    MatchSet.addToAll(slot, entry, sets);
    for (const node of nodes) {
      if (node.bitmap) node.bitmap.add(slot);
      else if (node.parent === this.#trie.root && (node.matches as MatchSet).size > SHORT_LIST) {
        node.bitmap = createBitmap(node.matches as MatchSet);
      }
    }
    this.#trie.trim(nodes);
  }

  #remove(slot: number): void {
    this.#changes.record(slot);
    const entry = this.#entries[slot] as Entry;
    MatchSet.removeFromAll(entry);
    this.#entries[slot] = undefined;
    this.#registrations[slot] = undefined;
    this.#freeSlots.push(slot);
    this.#used.delete(slot);
    this.#needsObjectCheck.delete(slot);
    for (const object of entry.objects) {
      for (const pair of object) {
        this.#trie.getList(pair).bitmap?.delete(slot);
        if (this.#pairs.release(pair)) this.#trie.dropList(pair);
      }
    }
  }
}

function createBitmap(matches: MatchSet): Bitmap {
  const bitmap = new Bitmap();
  for (const slot of matches.slots) bitmap.add(slot);
  return bitmap;
}
