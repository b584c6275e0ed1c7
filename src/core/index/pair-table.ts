import type { CapabilityQuery, Pairs } from '../capability.js';

/** The numbers of the pairs with one value. Most values have one key, so that a pair is found by a single hash lookup. */
interface Keys {
  /** Undefined if the pair with this key was released while pairs with other keys remain. */
  key: string | undefined;
  number: number;
  /** The numbers of the pairs with other keys. */
  otherKeys: Map<string, number> | undefined;
}

/** Interns key-value pairs as numbers, so that sets of pairs are compared as numbers. A pair keeps its number while it is in use. */
export class PairTable {
  readonly #byValue = new Map<string, Keys>();
  /** The numbers of the pairs with a key: one, or several. Most keys of a hostile registration have one value. */
  readonly #byKey = new Map<string, number | Set<number>>();
  readonly #pairs: [key: string, value: string][] = [];
  readonly #uses: number[] = [];
  readonly #free: number[] = [];
  #releases = 0;

  /** Number of pairs released so far. While it stays the same, every pair keeps its number. */
  get releases(): number {
    return this.#releases;
  }

  /** Returns the number of a pair; undefined if no replica has it. */
  find(key: string, value: string): number | undefined {
    const keys = this.#byValue.get(value);
    if (keys === undefined || keys.key === key) return keys?.number;
    return keys.otherKeys?.get(key);
  }

  /** Returns the numbers of the pairs with a key; undefined if there are more than `max`. */
  listNumbers(key: string, max: number): readonly number[] | undefined {
    const numbers = this.#byKey.get(key);
    if (numbers === undefined) return [];
    if (typeof numbers === 'number') return [numbers];
    return numbers.size > max ? undefined : [...numbers];
  }

  /** Returns the value of a pair. */
  getValue(number: number): string {
    return (this.#pairs[number] as [string, string])[1];
  }

  /** Returns the numbers of a query's pairs, ascending; undefined if no replica has one of the pairs. */
  findAll(query: CapabilityQuery): readonly number[] | undefined {
    const numbers = new Array<number>(query.length / 2);
    for (let count = 0; count < numbers.length; count++) {
      const number = this.find(query[2 * count] as string, query[2 * count + 1] as string);
      if (number === undefined) return undefined;
      insertAscending(number, numbers, count);
    }
    return numbers;
  }

  /** Adds one use of each pair of a capability object, and returns the numbers of the pairs, ascending. */
  useAll(pairs: Pairs): readonly number[] {
    const numbers = new Array<number>(pairs.length / 2);
    for (let index = 0; index < numbers.length; index++) {
      const [key, value] = [pairs[2 * index] as string, pairs[2 * index + 1] as string];
      const number = this.find(key, value) ?? this.#add(key, value);
      this.#uses[number] = (this.#uses[number] as number) + 1;
      insertAscending(number, numbers, index);
    }
    return numbers;
  }

  /** Removes one use of a pair. Returns true if it was the last one. The number of the pair is free then. */
  release(number: number): boolean {
    const uses = (this.#uses[number] as number) - 1;
    this.#uses[number] = uses;
    if (uses > 0) return false;
    const [key, value] = this.#pairs[number] as [string, string];
    this.#remove(key, value);
    const ofKey = this.#byKey.get(key);
    if (typeof ofKey === 'number' || ofKey?.size === 1) this.#byKey.delete(key);
    else ofKey?.delete(number);
    this.#free.push(number);
    this.#releases++;
    return true;
  }

  #add(key: string, value: string): number {
    const number = this.#free.pop() ?? this.#pairs.length;
    this.#pairs[number] = [key, value];
    this.#uses[number] = 0;
    const ofKey = this.#byKey.get(key);
    if (ofKey === undefined) this.#byKey.set(key, number);
    else if (typeof ofKey === 'number') this.#byKey.set(key, new Set([ofKey, number]));
    else ofKey.add(number);
    const keys = this.#byValue.get(value);
    if (!keys) this.#byValue.set(value, { key, number, otherKeys: undefined });
    else if (keys.key === undefined) {
      keys.key = key;
      keys.number = number;
    } else {
      keys.otherKeys ??= new Map();
      keys.otherKeys.set(key, number);
    }
    return number;
  }

  #remove(key: string, value: string): void {
    const keys = this.#byValue.get(value) as Keys;
    // Does not promote another key: to find its first entry, a Map skips all entries that were deleted before it.
    if (keys.key === key) keys.key = undefined;
    else keys.otherKeys?.delete(key);
    if (keys.key === undefined && !keys.otherKeys?.size) this.#byValue.delete(value);
  }
}

/** Inserts a number into the first `count` numbers, which are ascending. `sort` costs more than the rest of a choice. */
function insertAscending(number: number, ascending: number[], count: number): void {
  let index = count;
  for (; index > 0 && (ascending[index - 1] as number) > number; index--)
    ascending[index] = ascending[index - 1] as number;
  ascending[index] = number;
}
