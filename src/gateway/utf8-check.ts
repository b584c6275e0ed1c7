import { isUtf8 } from 'node:buffer';

const NO_BYTES = Buffer.alloc(0);

/** Checks whether a body in pieces is valid UTF-8. A character can be in several pieces. */
export class Utf8Check {
  isValid = true;
  /** The bytes so far of a character that the last piece did not complete. */
  #partial: Buffer = NO_BYTES;

  /** Whether the bytes so far are valid UTF-8 that ends with a whole character. */
  get isComplete(): boolean {
    return this.isValid && this.#partial.length === 0;
  }

  push(piece: Buffer): void {
    const start = this.#partial.length > 0 ? this.#completeCharacter(piece) : 0;
    const end = findPartialCharacter(piece, start);
    if (!isUtf8(start === 0 && end === piece.length ? piece : piece.subarray(start, end))) this.isValid = false;
    if (end < piece.length) this.#partial = Buffer.concat([this.#partial, piece.subarray(end)]);
  }

  /** Adds bytes to the character that has begun. Returns the number of bytes used. */
  #completeCharacter(piece: Buffer): number {
    const length = getCharacterLength(this.#partial[0] as number);
    const used = Math.min(piece.length, length - this.#partial.length);
    this.#partial = Buffer.concat([this.#partial, piece.subarray(0, used)]);
    if (this.#partial.length < length) return used;
    if (!isUtf8(this.#partial)) this.isValid = false;
    this.#partial = NO_BYTES;
    return used;
  }
}

/** Returns where a character starts that the end of the piece cuts off; the end of the piece if there is none. */
function findPartialCharacter(piece: Buffer, start: number): number {
  for (let at = piece.length - 1; at >= start && at >= piece.length - 3; at--) {
    const byte = piece[at] as number;
    if (byte < 0x80) break;
    if (byte >= 0xc0) return at + getCharacterLength(byte) > piece.length ? at : piece.length;
  }
  return piece.length;
}

/** Returns the number of bytes of a character, from its first byte. */
function getCharacterLength(first: number): number {
  if (first >= 0xf0) return 4;
  return first >= 0xe0 ? 3 : 2;
}
