/**
 * Searches for stop sequences in a text that arrives in pieces. Text that could be the start of a stop sequence is held
 * back until that is decided. The stop sequence itself is never returned.
 */
export class StopSequences {
  readonly #searches: readonly TextSearch[];
  #held = '';
  #isFound = false;

  constructor(texts: readonly string[]) {
    this.#searches = texts.map((text) => new TextSearch(text));
  }

  /** Whether a stop sequence has been found. The text after it is discarded. */
  get isFound(): boolean {
    return this.#isFound;
  }

  /** Adds a piece and returns the text that can be released, which can be empty. */
  push(piece: string): string {
    const heldLength = this.#held.length;
    this.#held += piece;
    const starts = this.#searches.flatMap((search) => search.push(piece) ?? []).map((start) => heldLength + start);
    this.#isFound = starts.length > 0;
    const longestMatch = this.#searches.reduce((length, { matched }) => Math.max(length, matched), 0);
    return this.#release(this.#isFound ? Math.min(...starts) : this.#held.length - longestMatch);
  }

  /** Returns the text that is still held back. Call this after the last piece. */
  flush(): string {
    return this.#isFound ? '' : this.#release(this.#held.length);
  }

  #release(length: number): string {
    const released = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return released;
  }
}

/**
 * Searches for one text in a text that arrives in pieces. Visits each UTF-16 code unit once (the Knuth-Morris-Pratt
 * algorithm).
 */
class TextSearch {
  readonly #text: string;
  /** For each number of matching units: how many of them still match if the next unit doesn't. */
  readonly #fallbacks: readonly number[];
  #matched = 0;

  constructor(text: string) {
    this.#text = text;
    const fallbacks = [0, 0];
    for (let length = 1; length < text.length; length++) {
      let shorter = fallbacks[length] as number;
      while (shorter > 0 && text[shorter] !== text[length]) shorter = fallbacks[shorter] as number;
      fallbacks.push(text[shorter] === text[length] ? shorter + 1 : 0);
    }
    this.#fallbacks = fallbacks;
  }

  /** Number of units at the end of the text so far that match the start of the searched text. */
  get matched(): number {
    return this.#matched;
  }

  /**
   * Adds a piece. Returns the start of a match relative to the start of the piece, or undefined. It is negative if the match
   * begins in an earlier piece.
   */
  push(piece: string): number | undefined {
    for (let i = 0; i < piece.length; i++) {
      while (this.#matched > 0 && this.#text[this.#matched] !== piece[i]) {
        this.#matched = this.#fallbacks[this.#matched] as number;
      }
      if (this.#text[this.#matched] === piece[i]) this.#matched++;
      if (this.#matched === this.#text.length) return i + 1 - this.#text.length;
    }
    return undefined;
  }
}
