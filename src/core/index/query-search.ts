import { GenerationalCache } from '../generational-cache.js';
import type { Random } from '../ports.js';
import { type Bitmap, forEachCommon } from './bitmap.js';
import type { Entry, EntryTable, MatchSet } from './match-set.js';
import type { QueryTrie } from './query-trie.js';

/** Limits of what a search adds to the cached results. */
export interface SearchLimits {
  /** Maximum number of matches of a cached result. */
  readonly maxMatches: number;
  /** Maximum number of pairs of a query whose result is cached. */
  readonly maxPairs: number;
}

/** Maximum length of a list that is filtered. Longer lists have bitmaps, and the bitmaps are intersected. */
export const SHORT_LIST = 2048;

/** Number of samples before the search gives up sampling. If 1 in 20 matches, all samples miss once in 700 queries. */
const MAX_SAMPLES = 128;

/**
 * Number of list members per sample: a list of n members is sampled at most n / 4 times. A sample can check all objects of a
 * replica, up to 4,096, so failed samples must not cost more than filtering the list.
 */
const SIZE_PER_SAMPLE = 4;

/** Maximum length of a list that is not sampled, because filtering it costs no more. */
const MAX_UNSAMPLED = 16;

/** Maximum number of samples of a query that is not worth caching when it is repeated. */
const CHEAP_SAMPLES = 6;

/** Number of uses of a query after which its result is cached. */
const USES_BEFORE_CACHED = 2;

/** Number of queries after which a result that was too large to cache is measured again. */
const USES_AFTER_TOO_LARGE = 1000;

/** Number of uncached queries whose repetitions are counted. */
const MAX_COUNTED = 4096;

/** Chooses a match of a query whose result isn't cached: by rejection sampling, or from all matches. */
export class QuerySearch {
  readonly #trie: QueryTrie;
  readonly #entries: EntryTable;
  readonly #needsObjectCheck: Bitmap;
  readonly #limits: SearchLimits;
  /** For each uncached query, by its pairs, number of further uses before its result is cached. */
  readonly #countdowns = new GenerationalCache<string, number>(MAX_COUNTED);

  constructor(trie: QueryTrie, entries: EntryTable, needsObjectCheck: Bitmap, limits: SearchLimits) {
    this.#trie = trie;
    this.#entries = entries;
    this.#needsObjectCheck = needsObjectCheck;
    this.#limits = limits;
  }

  /**
   * Chooses the slot of a match that isn't excluded, each equally likely. Samples the shortest list: a sample that matches
   * is as uniform as the list it is from. Finds all matches if that fails.
   */
  choose(query: readonly number[], excluded: readonly number[], random: Random): number | undefined {
    const list = this.#findShortestList(query);
    const maxSamples = list.size > MAX_UNSAMPLED ? Math.min(MAX_SAMPLES, list.size / SIZE_PER_SAMPLE) : 0;
    for (let samples = 1; samples <= maxSamples; samples++) {
      const slot = list.slots[Math.floor(random.fraction() * list.size)] as number;
      if (!this.#isMatch(slot, list, query) || excluded.includes(slot)) continue;
      const isRare = samples > CHEAP_SAMPLES && list.size / samples < this.#limits.maxMatches;
      if (isRare) this.#cacheIfRepeated(query, () => this.#findAllMatches(list, query), random);
      return slot;
    }
    const matching = this.#findAllMatches(list, query);
    this.#cacheIfRepeated(query, () => matching, random);
    const remaining = excluded.length > 0 ? matching.filter((slot) => !excluded.includes(slot)) : matching;
    return remaining[Math.floor(random.fraction() * remaining.length)];
  }

  /** Returns the shortest list of the query's pairs. Every match is in all of these lists. */
  #findShortestList(query: readonly number[]): MatchSet {
    let shortest = this.#trie.getList(query[0] as number).matches as MatchSet;
    for (let index = 1; index < query.length; index++) {
      const list = this.#trie.getList(query[index] as number).matches as MatchSet;
      if (list.size < shortest.size) shortest = list;
    }
    return shortest;
  }

  /**
   * Returns whether an entry in the list of one of the pairs matches. Checks the bitmaps of the other lists, if they have
   * one.
   */
  #isMatch(slot: number, list: MatchSet, query: readonly number[]): boolean {
    for (const pair of query) {
      const { matches, bitmap } = this.#trie.getList(pair);
      if (matches === list) continue;
      if (!bitmap) return this.#hasObject(slot, query);
      if (!bitmap.has(slot)) return false;
    }
    return !this.#needsObjectCheck.has(slot) || this.#hasObject(slot, query);
  }

  /** Returns whether one capability object of an entry has all the pairs. */
  #hasObject(slot: number, query: readonly number[]): boolean {
    for (const object of (this.#entries[slot] as Entry).objects) if (hasAllPairs(object, query)) return true;
    return false;
  }

  /** Finds all matches: filters the shortest list, or intersects the bitmaps if that list is long. */
  #findAllMatches(shortest: MatchSet, query: readonly number[]): number[] {
    if (shortest.size <= SHORT_LIST) return shortest.slots.filter((slot) => this.#isMatch(slot, shortest, query));
    const matching: number[] = [];
    const bitmaps = query.map((pair) => this.#trie.getList(pair).bitmap as Bitmap);
    forEachCommon(bitmaps, (slot) => {
      if (!this.#needsObjectCheck.has(slot) || this.#hasObject(slot, query)) matching.push(slot);
    });
    return matching;
  }

  /** Caches the result of a repeated query, unless it is too large. Then it is measured again much later. */
  #cacheIfRepeated(query: readonly number[], findMatches: () => readonly number[], random: Random): void {
    if (query.length > this.#limits.maxPairs) return;
    const key = query.join();
    const remaining = (this.#countdowns.get(key) ?? USES_BEFORE_CACHED) - 1;
    const matching = remaining > 0 ? undefined : findMatches();
    const isTooLarge = matching !== undefined && matching.length > this.#limits.maxMatches;
    if (matching && !isTooLarge) this.#trie.cache(query, matching, random);
    this.#countdowns.set(key, isTooLarge ? USES_AFTER_TOO_LARGE : remaining || USES_BEFORE_CACHED);
  }
}

/** Returns whether an object has all the pairs. Both are ascending. */
function hasAllPairs(object: readonly number[], query: readonly number[]): boolean {
  let index = 0;
  for (const pair of query) {
    while (index < object.length && (object[index] as number) < pair) index++;
    if (object[index] !== pair) return false;
    index++;
  }
  return true;
}
