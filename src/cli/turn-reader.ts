/** The mark before and after a message of several lines, as in Python. */
const FENCE = '"""';

/** Joins lines to turns: a line is a turn, and so are all lines between two lines with `"""`. */
export class TurnReader {
  #lines: string[] | undefined;

  /** Whether a message of several lines has begun and not ended. */
  get isOpen(): boolean {
    return this.#lines !== undefined;
  }

  /** Takes a line; returns the turn that ends with it. `isFenced` says whether it had the mark. */
  take(line: string): { readonly text: string; readonly isFenced: boolean } | undefined {
    if (this.#lines === undefined) {
      const opened = line.trimStart();
      if (!opened.startsWith(FENCE)) return { text: line, isFenced: false };
      this.#lines = [];
      return this.#inside(opened.slice(FENCE.length));
    }
    return this.#inside(line);
  }

  /** Forgets the lines of a message that has not ended, and returns them; undefined when there is none. */
  leave(): string | undefined {
    const text = this.#lines?.join('\n').trim();
    this.#lines = undefined;
    return text;
  }

  #inside(line: string): { readonly text: string; readonly isFenced: boolean } | undefined {
    const end = line.trimEnd();
    if (!end.endsWith(FENCE)) {
      this.#lines?.push(line);
      return undefined;
    }
    this.#lines?.push(end.slice(0, -FENCE.length));
    return { text: this.leave() ?? '', isFenced: true };
  }
}
