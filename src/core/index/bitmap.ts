/** A set of small non-negative integers, one bit each. */
export class Bitmap {
  words = new Uint32Array(64);

  add(number: number): void {
    const index = number >>> 5;
    if (index >= this.words.length) {
      const grown = new Uint32Array(Math.max(index + 1, this.words.length * 2));
      grown.set(this.words);
      this.words = grown;
    }
    this.words[index] = (this.words[index] as number) | (1 << (number & 31));
  }

  /** Adds the members of another bitmap. */
  addAll({ words: added }: Bitmap): void {
    if (added.length > this.words.length) {
      const grown = new Uint32Array(added.length);
      grown.set(this.words);
      this.words = grown;
    }
    for (let index = 0; index < added.length; index++) {
      this.words[index] = (this.words[index] as number) | (added[index] as number);
    }
  }

  /** Removes the members of another bitmap. */
  removeAll({ words: removed }: Bitmap): void {
    const length = Math.min(removed.length, this.words.length);
    for (let index = 0; index < length; index++) {
      this.words[index] = (this.words[index] as number) & ~(removed[index] as number);
    }
  }

  /** Removes the members that another bitmap doesn't have. */
  keepCommon({ words: kept }: Bitmap): void {
    for (let index = 0; index < this.words.length; index++) {
      this.words[index] = (this.words[index] as number) & (kept[index] ?? 0);
    }
  }

  clone(): Bitmap {
    const clone = new Bitmap();
    clone.words = this.words.slice();
    return clone;
  }

  has(number: number): boolean {
    return (((this.words[number >>> 5] ?? 0) >>> (number & 31)) & 1) === 1;
  }

  delete(number: number): void {
    const index = number >>> 5;
    if (index < this.words.length) this.words[index] = (this.words[index] as number) & ~(1 << (number & 31));
  }
}

/** Calls `visit` with each number that all bitmaps contain, ascending. */
export function forEachCommon(bitmaps: readonly Bitmap[], visit: (number: number) => void): void {
  const all = bitmaps.map(({ words }) => words);
  const length = Math.min(...all.map((words) => words.length));
  for (let index = 0; index < length; index++) {
    let word = -1;
    for (const words of all) word &= words[index] as number;
    while (word !== 0) {
      const lowest = word & -word;
      visit(index * 32 + 31 - Math.clz32(lowest));
      word ^= lowest;
    }
  }
}
