/** Mark before and after a multi-line message, as in Python. */
const FENCE = '"""';

/** A turn of the user. `isFenced`: whether it was enclosed in `"""`. */
interface ReadTurn {
  readonly text: string;
  readonly isFenced: boolean;
}

/** Joins lines into turns. A line is a turn, and so are all lines enclosed in `"""`. */
export class TurnReader {
  #lines: string[] | undefined;

  /** Whether a multi-line message has begun and not ended. */
  get isOpen(): boolean {
    return this.#lines !== undefined;
  }

  /** Adds a line. Returns the turn that ends with it; undefined inside a multi-line message. */
  push(line: string): ReadTurn | undefined {
    if (this.#lines === undefined) {
      const opened = line.trimStart();
      if (!opened.startsWith(FENCE)) return { text: line, isFenced: false };
      this.#lines = [];
      return this.#pushFenced(opened.slice(FENCE.length));
    }
    return this.#pushFenced(line);
  }

  /** Removes and returns the lines of an unfinished message. Undefined when there is none. */
  flush(): string | undefined {
    const text = this.#lines?.join('\n').trim();
    this.#lines = undefined;
    return text;
  }

  #pushFenced(line: string): ReadTurn | undefined {
    const trimmed = line.trimEnd();
    if (!trimmed.endsWith(FENCE)) {
      this.#lines?.push(line);
      return undefined;
    }
    this.#lines?.push(trimmed.slice(0, -FENCE.length));
    return { text: this.flush() ?? '', isFenced: true };
  }
}
