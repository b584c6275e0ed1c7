/**
 * Looks for the texts that end an answer in a text that comes in pieces. What may be the beginning of one is held back
 * until it is clear; the stop text itself is never given.
 */
export class StopTexts {
  readonly #texts: readonly string[];
  #held = '';
  #isFound = false;

  constructor(texts: readonly string[]) {
    this.#texts = texts;
  }

  /** Whether one of them has come; what comes after it is of no interest. */
  get isFound(): boolean {
    return this.#isFound;
  }

  /** Takes the next piece; gives what can be given of the text so far, perhaps nothing. */
  push(piece: string): string {
    this.#held += piece;
    const found = this.#texts.map((text) => this.#held.indexOf(text)).filter((at) => at >= 0);
    this.#isFound = found.length > 0;
    return this.#give(this.#isFound ? Math.min(...found) : this.#held.length - this.#longestBeginning());
  }

  /** Gives what is held back, for when no piece follows. */
  rest(): string {
    return this.#isFound ? '' : this.#give(this.#held.length);
  }

  #give(length: number): string {
    const given = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return given;
  }

  /** How much of the end could be the beginning of a stop text. */
  #longestBeginning(): number {
    const longest = Math.max(0, ...this.#texts.map(({ length }) => length - 1));
    for (let length = Math.min(longest, this.#held.length); length > 0; length--) {
      const end = this.#held.slice(-length);
      if (this.#texts.some((text) => text.startsWith(end))) return length;
    }
    return 0;
  }
}
