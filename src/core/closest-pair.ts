import { measureMisspelling } from './edit-distance.js';

/** A key with a value. */
export type Pair = readonly [key: string, value: string];

/** Maximum number of compared strings that are remembered for each set. */
const MAX_REMEMBERED_TEXTS = 10_000;

/** Maximum length of a string that is suggested, in UTF-16 units. A longer one is not typed by hand. */
const MAX_SUGGESTED_LENGTH = 1024;

/** Distance of a pair that has the requested value and another key. */
const OTHER_KEY_DISTANCE = 0.5;

/** Distance of a value that begins with the requested value. */
const PREFIX_DISTANCE = 3.5;

/** Minimum length of a requested value for which longer values with that prefix are suggested. */
const MIN_PREFIX_LENGTH = 3;

/** One pair of a query, and the most similar offered pair. */
export class QueryPair {
  readonly key: string;
  readonly value: string;
  offeredBy: string | undefined;
  closest: Pair | undefined;
  #distance = Number.POSITIVE_INFINITY;
  readonly #values = new Set<string>();
  readonly #keys = new Set<string>();
  readonly #keysOfValue = new Set<string>();

  constructor(key: string, value: string) {
    this.key = key;
    this.value = value;
  }

  /** Returns whether a pair must still be compared. False if the same string was compared before. */
  isNew(key: string, value: string): boolean {
    if (key === this.key) return addNew(this.#values, value);
    return addNew(value === this.value ? this.#keysOfValue : this.#keys, key);
  }

  /** Keeps a pair as the closest one if it is more similar than the closest one so far. */
  compare(key: string, value: string): void {
    const distance = this.#computeDistance(key, value);
    if (distance === undefined || distance >= this.#distance) return;
    this.#distance = distance;
    this.closest = [key, value];
  }

  #computeDistance(key: string, value: string): number | undefined {
    if (key === this.key) {
      const isPrefix = this.value.length >= MIN_PREFIX_LENGTH && value.startsWith(this.value);
      return measureMisspelling(this.value, value) ?? (isPrefix ? PREFIX_DISTANCE : undefined);
    }
    const keyDistance = measureMisspelling(this.key, key);
    // Short values, numbers, true and false occur with many keys, so they say nothing about the key.
    if (value === this.value)
      return keyDistance ?? (/^(?:.{0,2}|true|false|[\d.]*)$/s.test(value) ? undefined : OTHER_KEY_DISTANCE);
    // A misspelled key with another value ranks below every pair with the requested key or value.
    return keyDistance === undefined ? undefined : keyDistance + PREFIX_DISTANCE;
  }
}

/** Adds a string to a set. Returns false if the set has it already or if it is too long. */
function addNew(texts: Set<string>, text: string): boolean {
  if (text.length > MAX_SUGGESTED_LENGTH || texts.has(text)) return false;
  if (texts.size < MAX_REMEMBERED_TEXTS) texts.add(text);
  return true;
}
