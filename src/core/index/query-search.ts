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

/** A list longer than this has a bitmap, and lists are intersected by bitmaps. A shorter one is filtered. */
export const SHORT_LIST = 2048;

/** Number of samples before the search gives up sampling. If 1 in 20 matches, all samples miss once in 700 queries. */
const MAX_SAMPLES = 128;

/**
 * Number of members of the list for each sample that the search takes at most. A sample can check all objects of a replica, up to
 * 4,096, so failed samples must not cost more than filtering the list.
 */
const SIZE_PER_SAMPLE = 4;

/** A list of at most this many members is not sampled, because filtering it costs no more. */
const MAX_UNSAMPLED = 16;

/** A query that takes more samples than this is worth caching when it is repeated. */
const CHEAP_SAMPLES = 6;

/** A result is cached when its query is asked this many times. */
const ASKS_BEFORE_CACHED = 2;

/** A result that was too large to cache is measured again after this many queries. */
const ASKS_AFTER_TOO_LARGE = 1000;

/** Number of uncached queries whose repetitions are counted. */
const MAX_COUNTED = 4096;

/** Chooses a match of a query whose result isn't cached: by rejection sampling, or from all matches. */
export class QuerySearch {
  readonly #trie: QueryTrie;
  readonly #entries: EntryTable;
  readonly #notOneObject: Bitmap;
  readonly #limits: SearchLimits;
  /** For each uncached query, by its pairs, how often it must still be asked before its result is cached. */
  readonly #asksLeft = new GenerationalCache<string, number>(MAX_COUNTED);

  constructor(trie: QueryTrie, entries: EntryTable, notOneObject: Bitmap, limits: SearchLimits) {
    this.#trie = trie;
    this.#entries = entries;
    this.#notOneObject = notOneObject;
    this.#limits = limits;
  }

  /**
   * Chooses the slot of a match that isn't excluded, each equally likely. Samples the shortest list: a sample that matches
   * is as uniform as the list it is from. Finds all matches if that fails.
   */
  choose(asked: readonly number[], excluded: readonly number[], random: Random): number | undefined {
    const list = this.#findShortestList(asked);
    const maxSamples = list.size > MAX_UNSAMPLED ? Math.min(MAX_SAMPLES, list.size / SIZE_PER_SAMPLE) : 0;
    for (let samples = 1; samples <= maxSamples; samples++) {
      const slot = list.slots[Math.floor(random.fraction() * list.size)] as number;
      if (!this.#isMatch(slot, list, asked) || excluded.includes(slot)) continue;
      const isRare = samples > CHEAP_SAMPLES && list.size / samples < this.#limits.maxMatches;
      if (isRare) this.#cacheIfRepeated(asked, () => this.#findAllMatches(list, asked), random);
      return slot;
    }
    const matching = this.#findAllMatches(list, asked);
    this.#cacheIfRepeated(asked, () => matching, random);
    const left = excluded.length > 0 ? matching.filter((slot) => !excluded.includes(slot)) : matching;
    return left[Math.floor(random.fraction() * left.length)];
  }

  /** Returns the shortest list of the query's pairs. Every match is in all of these lists. */
  #findShortestList(asked: readonly number[]): MatchSet {
    let shortest = this.#trie.list(asked[0] as number).matches as MatchSet;
    for (let at = 1; at < asked.length; at++) {
      const list = this.#trie.list(asked[at] as number).matches as MatchSet;
      if (list.size < shortest.size) shortest = list;
    }
    return shortest;
  }

  /** Returns whether an entry in the list of one of the pairs matches. Checks the bitmaps of the other lists, if they have one. */
  #isMatch(slot: number, list: MatchSet, asked: readonly number[]): boolean {
    for (const pair of asked) {
      const { matches, bitmap } = this.#trie.list(pair);
      if (matches === list) continue;
      if (!bitmap) return this.#hasObject(slot, asked);
      if (!bitmap.has(slot)) return false;
    }
    return !this.#notOneObject.has(slot) || this.#hasObject(slot, asked);
  }

  /** Returns whether one capability object of an entry has all the pairs. */
  #hasObject(slot: number, asked: readonly number[]): boolean {
    for (const object of (this.#entries[slot] as Entry).objects) if (hasAll(object, asked)) return true;
    return false;
  }

  /** Finds all matches: filters the shortest list, or intersects the bitmaps if that list is long. */
  #findAllMatches(shortest: MatchSet, asked: readonly number[]): number[] {
    if (shortest.size <= SHORT_LIST) return shortest.slots.filter((slot) => this.#isMatch(slot, shortest, asked));
    const matching: number[] = [];
    const bitmaps = asked.map((pair) => this.#trie.list(pair).bitmap as Bitmap);
    forEachCommon(bitmaps, (slot) => {
      if (!this.#notOneObject.has(slot) || this.#hasObject(slot, asked)) matching.push(slot);
    });
    return matching;
  }

  /** Caches the result of a repeated query, unless it is too large. Then it is measured again much later. */
  #cacheIfRepeated(asked: readonly number[], result: () => readonly number[], random: Random): void {
    if (asked.length > this.#limits.maxPairs) return;
    const key = asked.join();
    const left = (this.#asksLeft.get(key) ?? ASKS_BEFORE_CACHED) - 1;
    const matching = left > 0 ? undefined : result();
    const isTooLarge = matching !== undefined && matching.length > this.#limits.maxMatches;
    if (matching && !isTooLarge) this.#trie.cache(asked, matching, random);
    this.#asksLeft.set(key, isTooLarge ? ASKS_AFTER_TOO_LARGE : left || ASKS_BEFORE_CACHED);
  }
}

/** Returns whether an object has all the pairs. Both are ascending. */
function hasAll(object: readonly number[], asked: readonly number[]): boolean {
  let at = 0;
  for (const pair of asked) {
    while (at < object.length && (object[at] as number) < pair) at++;
    if (object[at] !== pair) return false;
    at++;
  }
  return true;
}
