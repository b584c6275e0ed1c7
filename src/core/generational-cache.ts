/**
 * A value and the key with which it was set. A key passed to `get` is not stored: it can be a slice of a longer text and keep
 * all of that text in memory.
 */
interface CacheEntry<K, V> {
  readonly key: K;
  readonly value: V;
}

/**
 * A cache of recently used values with two generations. New entries go into the young generation. An entry that is found in the
 * old generation moves to the young one. When the young generation is full, it becomes the old one, and the previous old
 * generation is dropped. Entries in regular use survive, and no eviction has to search for the oldest entry. An LRU list in a
 * Map would be slow: to find its first entry, a Map skips all entries that were deleted before it.
 */
export class GenerationalCache<K, V> {
  readonly #maxYoung: number;
  #young = new Map<K, CacheEntry<K, V>>();
  #old = new Map<K, CacheEntry<K, V>>();

  /** Creates a cache of at most `maxEntries`. The most recently used half of them is never evicted. */
  constructor(maxEntries: number) {
    this.#maxYoung = Math.max(1, Math.floor(maxEntries / 2));
  }

  get(key: K): V | undefined {
    return (this.#young.get(key) ?? this.#promote(key))?.value;
  }

  set(key: K, value: V): void {
    this.#put({ key, value });
  }

  #promote(key: K): CacheEntry<K, V> | undefined {
    const entry = this.#old.get(key);
    if (entry) this.#put(entry);
    return entry;
  }

  #put(entry: CacheEntry<K, V>): void {
    if (this.#young.size >= this.#maxYoung) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(entry.key, entry);
  }
}
