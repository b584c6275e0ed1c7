import type { Random } from '../ports.js';
import type { Bitmap } from './bitmap.js';

/** Number of words of a block, whose members are counted. Finding a member reads all counts and the words of one block. */
const WORDS_PER_BLOCK = 32;

/**
 * A set of slots as one bit each, from which a random member can be chosen. It takes a hundredth of the memory of a
 * `MatchSet` with many members. A choice takes about 0.2 µs in 100,000 slots.
 */
export class RankedBitmap {
  readonly #bits: Bitmap;
  /** Number of members of each block. */
  #counts = new Uint32Array(0);
  #size = 0;

  /** Takes over the bitmap. */
  constructor(bits: Bitmap) {
    this.#bits = bits;
    this.#growCounts();
    for (const [index, word] of bits.words.entries()) {
      if (word !== 0) this.#count(index, countBits(word));
    }
  }

  get size(): number {
    return this.#size;
  }

  /** The members as bits. Read only. */
  get words(): Uint32Array {
    return this.#bits.words;
  }

  /** Adds a slot, or removes it. Returns whether that changed the set. */
  set(slot: number, isMember: boolean): boolean {
    if (this.#bits.has(slot) === isMember) return false;
    if (isMember) this.#bits.add(slot);
    else this.#bits.delete(slot);
    this.#growCounts();
    this.#count(slot >>> 5, isMember ? 1 : -1);
    return true;
  }

  /** Chooses a slot that is not excluded, each equally likely. The excluded must be few. */
  choose(excluded: readonly number[], random: Random): number | undefined {
    const removed = excluded.filter((slot) => this.set(slot, false));
    const chosen = this.#size === 0 ? undefined : this.#find(Math.floor(random.fraction() * this.#size));
    for (const slot of removed) this.set(slot, true);
    return chosen;
  }

  /** Finds the member that this number of members precede. */
  #find(rank: number): number {
    let left = rank;
    let block = 0;
    for (; left >= (this.#counts[block] as number); block++) left -= this.#counts[block] as number;
    let index = block * WORDS_PER_BLOCK;
    for (;;) {
      const count = countBits(this.words[index] as number);
      if (left < count) break;
      left -= count;
      index++;
    }
    let word = this.words[index] as number;
    for (; left > 0; left--) word &= word - 1;
    return index * 32 + 31 - Math.clz32(word & -word);
  }

  #count(index: number, change: number): void {
    const block = Math.floor(index / WORDS_PER_BLOCK);
    this.#counts[block] = (this.#counts[block] as number) + change;
    this.#size += change;
  }

  #growCounts(): void {
    const blocks = Math.ceil(this.words.length / WORDS_PER_BLOCK);
    if (blocks <= this.#counts.length) return;
    const grown = new Uint32Array(blocks);
    grown.set(this.#counts);
    this.#counts = grown;
  }
}

/** Counts the bits of a word that are set. */
function countBits(word: number): number {
  const pairs = word - ((word >>> 1) & 0x55555555);
  const quads = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333);
  return Math.imul((quads + (quads >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
