/** A value with its key, as it was given: one that is asked with may be a part of a longer text, and keep all of it. */
interface Kept<K, V> {
  readonly key: K;
  readonly value: V;
}

/**
 * Values by their keys, of which at most so many are kept: those used lately. There are two generations. What is new is put
 * in the young one, and so is what is found in the old one; when the young one is full it becomes the old one, and what
 * was left in that is forgotten. So what is asked for again and again stays, and nothing has to be looked for to be taken out:
 * a Map goes through the places of all that were deleted before it tells its oldest.
 */
export class GenerationalCache<K, V> {
  readonly #fullSize: number;
  #young = new Map<K, Kept<K, V>>();
  #old = new Map<K, Kept<K, V>>();

  /** Keeps this many at the most, and always the half of them that was used last. */
  constructor(most: number) {
    this.#fullSize = Math.max(1, Math.floor(most / 2));
  }

  get(key: K): V | undefined {
    return (this.#young.get(key) ?? this.#broughtUp(key))?.value;
  }

  set(key: K, value: V): void {
    this.#put({ key, value });
  }

  #broughtUp(key: K): Kept<K, V> | undefined {
    const kept = this.#old.get(key);
    if (kept) this.#put(kept);
    return kept;
  }

  #put(kept: Kept<K, V>): void {
    if (this.#young.size >= this.#fullSize) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(kept.key, kept);
  }
}
