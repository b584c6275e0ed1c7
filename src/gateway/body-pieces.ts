/** A part of a body, in bytes from its start. The byte at `end` is not included. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** Reads a body that is in pieces. A part is copied only if it is in several of them. */
export class BodyReader {
  readonly length: number;
  readonly #pieces: readonly Buffer[];
  /** Where each piece starts. */
  readonly #starts: readonly number[];

  constructor(pieces: readonly Buffer[]) {
    let length = 0;
    this.#pieces = pieces;
    this.#starts = pieces.map((piece) => {
      length += piece.length;
      return length - piece.length;
    });
    this.length = length;
  }

  /** Returns the bytes of a range. Leaves out what is beyond the end of the body. */
  slice(start: number, end: number): Buffer {
    const first = this.#findPiece(start);
    const piece = this.#pieces[first];
    if (!piece || end <= start) return Buffer.alloc(0);
    const pieceStart = this.#starts[first] as number;
    if (end <= pieceStart + piece.length) return piece.subarray(start - pieceStart, end - pieceStart);
    const found = [piece.subarray(start - pieceStart)];
    for (let index = first + 1; index < this.#pieces.length && (this.#starts[index] as number) < end; index++)
      found.push((this.#pieces[index] as Buffer).subarray(0, end - (this.#starts[index] as number)));
    return Buffer.concat(found);
  }

  /** Returns the position of the first occurrence of a pattern at or after `from`; -1 if there is none. */
  indexOf(pattern: Buffer, from: number): number {
    const overlap = pattern.length - 1;
    for (let index = this.#findPiece(from); index < this.#pieces.length; index++) {
      const piece = this.#pieces[index] as Buffer;
      const pieceStart = this.#starts[index] as number;
      const pieceEnd = pieceStart + piece.length;
      const found = piece.indexOf(pattern, Math.max(0, from - pieceStart));
      if (found >= 0) return pieceStart + found;
      // An occurrence that begins in this piece and ends in a later one.
      const windowStart = Math.max(from, pieceStart, pieceEnd - overlap);
      const across = pieceEnd === this.length ? -1 : this.slice(windowStart, pieceEnd + overlap).indexOf(pattern);
      if (across >= 0) return windowStart + across;
    }
    return -1;
  }

  /** Returns the index of the piece with a position, by binary search. */
  #findPiece(position: number): number {
    let [low, high] = [0, this.#starts.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const end = (this.#starts[middle] as number) + (this.#pieces[middle] as Buffer).length;
      if (end <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Replaces a part of a body. The other bytes are not copied. */
export function replaceBytes(pieces: readonly Buffer[], { start, end }: ByteRange, bytes: Buffer): Buffer[] {
  const replaced: Buffer[] = [];
  let pieceStart = 0;
  let isInserted = false;
  for (const piece of pieces) {
    const pieceEnd = pieceStart + piece.length;
    if (pieceStart < start) replaced.push(piece.subarray(0, start - pieceStart));
    if (!isInserted && pieceEnd >= start) {
      replaced.push(bytes);
      isInserted = true;
    }
    if (pieceEnd > end) replaced.push(piece.subarray(Math.max(0, end - pieceStart)));
    pieceStart = pieceEnd;
  }
  return replaced;
}
