/**
 * Looks for the texts that end an answer in a text that comes in pieces. Text that can be the beginning of one is held back
 * until it is clear; the stop text itself is never given.
 */
export class StopSequences {
  readonly #searches: readonly TextSearch[];
  #held = '';
  #isFound = false;

  constructor(texts: readonly string[]) {
    this.#searches = texts.map((text) => new TextSearch(text));
  }

  /** Whether one of them has come. The text after it is of no interest. */
  get isFound(): boolean {
    return this.#isFound;
  }

  /** Takes the next piece; gives what can be given of the text so far, perhaps nothing. */
  push(piece: string): string {
    const before = this.#held.length;
    this.#held += piece;
    const found = this.#searches.flatMap((search) => search.push(piece) ?? []).map((at) => before + at);
    this.#isFound = found.length > 0;
    const longest = this.#searches.reduce((length, { matched }) => Math.max(length, matched), 0);
    return this.#give(this.#isFound ? Math.min(...found) : this.#held.length - longest);
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
}

/** Searches for one text in a text that comes in pieces, each unit of which is looked at once (Knuth, Morris and Pratt). */
class TextSearch {
  readonly #text: string;
  /** By the number of units that match, how many still do when the next one does not. */
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

  /** Number of units at the end of the text so far that are a beginning of the text searched for. */
  get matched(): number {
    return this.#matched;
  }

  /** Takes the next piece. Returns where in it the text begins, counted from the start of the piece; negative before that. */
  push(piece: string): number | undefined {
    for (let at = 0; at < piece.length; at++) {
      while (this.#matched > 0 && this.#text[this.#matched] !== piece[at]) {
        this.#matched = this.#fallbacks[this.#matched] as number;
      }
      if (this.#text[this.#matched] === piece[at]) this.#matched++;
      if (this.#matched === this.#text.length) return at + 1 - this.#text.length;
    }
    return undefined;
  }
}
