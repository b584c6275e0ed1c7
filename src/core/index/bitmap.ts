/** A set of small non-negative integers, one bit each. */
export class Bitmap {
  words = new Uint32Array(64);

  add(number: number): void {
    const at = number >>> 5;
    if (at >= this.words.length) {
      const grown = new Uint32Array(Math.max(at + 1, this.words.length * 2));
      grown.set(this.words);
      this.words = grown;
    }
    this.words[at] = (this.words[at] as number) | (1 << (number & 31));
  }

  has(number: number): boolean {
    return (((this.words[number >>> 5] ?? 0) >>> (number & 31)) & 1) === 1;
  }

  delete(number: number): void {
    const at = number >>> 5;
    if (at < this.words.length) this.words[at] = (this.words[at] as number) & ~(1 << (number & 31));
  }
}

/** Calls `visit` with each number that all bitmaps contain, ascending. */
export function forEachCommon(bitmaps: readonly Bitmap[], visit: (number: number) => void): void {
  const all = bitmaps.map(({ words }) => words);
  const length = Math.min(...all.map((words) => words.length));
  for (let at = 0; at < length; at++) {
    let word = -1;
    for (const words of all) word &= words[at] as number;
    while (word !== 0) {
      const lowest = word & -word;
      visit(at * 32 + 31 - Math.clz32(lowest));
      word ^= lowest;
    }
  }
}
