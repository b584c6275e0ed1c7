import type { Pairs } from './capability.js';

/** Numbers for key-value pairs, so that sets of them are compared as numbers. A pair keeps its number while it is used. */
export class PairTable {
  readonly #byKey = new Map<string, Map<string, number>>();
  readonly #pairs: [key: string, value: string][] = [];
  readonly #uses: number[] = [];
  readonly #free: number[] = [];

  /** The number of a pair; undefined when nobody has it. */
  find(key: string, value: string): number | undefined {
    return this.#byKey.get(key)?.get(value);
  }

  /** The numbers, ascending, of the pairs of one more capability object. */
  useAll(pairs: Pairs): readonly number[] {
    const numbers = new Array<number>(pairs.length / 2);
    for (let at = 0; at < numbers.length; at++) {
      numbers[at] = this.#use(pairs[2 * at] as string, pairs[2 * at + 1] as string);
    }
    return numbers.sort((a, b) => a - b);
  }

  #use(key: string, value: string): number {
    let values = this.#byKey.get(key);
    if (!values) {
      values = new Map();
      this.#byKey.set(key, values);
    }
    let number = values.get(value);
    if (number === undefined) {
      number = this.#free.pop() ?? this.#pairs.length;
      values.set(value, number);
      this.#pairs[number] = [key, value];
      this.#uses[number] = 0;
    }
    this.#uses[number] = (this.#uses[number] as number) + 1;
    return number;
  }

  /** One fewer has a pair; true when nobody has it any more, and its number is free. */
  release(number: number): boolean {
    const uses = (this.#uses[number] as number) - 1;
    this.#uses[number] = uses;
    if (uses > 0) return false;
    const [key, value] = this.#pairs[number] as [string, string];
    const values = this.#byKey.get(key);
    values?.delete(value);
    if (values?.size === 0) this.#byKey.delete(key);
    this.#free.push(number);
    return true;
  }
}
