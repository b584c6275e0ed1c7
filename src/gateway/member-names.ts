/** Maximum number of bytes for a character of a name: an escape such as `\u006d`. */
const MAX_CHARACTER_BYTES = 6;

/** Names of members to find, prepared for comparisons. */
export interface WantedNames {
  readonly names: readonly string[];
  readonly indexes: ReadonlyMap<string, number>;
  readonly lengths: ReadonlySet<number>;
  readonly maxBytes: number;
}

/** Prepares names of members. They are ASCII in lower case. */
export function prepareNames(names: readonly string[]): WantedNames {
  const lengths = new Set(names.map(({ length }) => length));
  const indexes = new Map(names.map((name, index) => [name, index]));
  return { names, indexes, lengths, maxBytes: MAX_CHARACTER_BYTES * Math.max(...lengths) };
}

/** Recognizes the names of wanted members, in any spelling that JSON allows. Most other names differ in length. */
export class MemberNames {
  readonly #wanted: WantedNames;
  /** The indexes of wanted names that occurred in another case. Usually none does. */
  #otherCases: Set<number> | undefined;
  /** The part of a name that was in previous pieces. */
  #prefix: Buffer | undefined;
  #isTooLong = false;

  constructor(wanted: WantedNames) {
    this.#wanted = wanted;
  }

  /** Returns whether a wanted name occurred in another case. */
  hasOtherCase(index: number): boolean {
    return this.#otherCases?.has(index) ?? false;
  }

  /** Keeps the beginning of a name that goes on in the next piece. A name that is too long to be wanted takes no memory. */
  keep(bytes: Buffer): void {
    const prefix = this.#prefix ? Buffer.concat([this.#prefix, bytes]) : bytes;
    this.#isTooLong ||= prefix.length > this.#wanted.maxBytes;
    this.#prefix = this.#isTooLong ? undefined : prefix;
  }

  /** Returns the index of the name that ends with these bytes; -1 if it is not wanted, undefined if it is not valid. */
  find(piece: Buffer, start: number, end: number, hasEscape: boolean): number | undefined {
    if (this.#prefix || this.#isTooLong) this.keep(piece.subarray(start, end));
    const prefix = this.#prefix;
    const isTooLong = this.#isTooLong;
    this.#prefix = undefined;
    this.#isTooLong = false;
    const length = prefix?.length ?? end - start;
    if (isTooLong || length > this.#wanted.maxBytes) return -1;
    if (!hasEscape && !this.#wanted.lengths.has(length)) return -1;
    const text = prefix?.toString() ?? piece.toString('utf8', start, end);
    return this.#recognize(hasEscape ? unescapeName(text) : text);
  }

  #recognize(name: string | undefined): number | undefined {
    if (name === undefined) return undefined;
    const index = this.#wanted.indexes.get(name);
    if (index !== undefined) return index;
    const otherCase = this.#wanted.indexes.get(name.toLowerCase());
    if (otherCase !== undefined) this.#otherCases = (this.#otherCases ?? new Set()).add(otherCase);
    return -1;
  }
}

function unescapeName(text: string): string | undefined {
  try {
    return JSON.parse(`"${text}"`);
  } catch {
    return undefined;
  }
}
