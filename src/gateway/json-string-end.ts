const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Number of bytes that are searched one by one. After that, the native search is faster, although each call of it costs 50 ns. */
const NEAR_BYTES = 64;

/**
 * Finds the ends of JSON strings in a body that comes in pieces. Most of a prompt or an image is skipped by the native search for
 * the next quote.
 */
export class JsonStringEnd {
  /** Whether a backslash was seen in the string, or can be in it. */
  hasEscape = false;
  /** Whether the last byte of the previous piece escapes the first byte of the next one. */
  #isEscaped = false;

  /** Returns the position after the closing quote; -1 if the string goes on in the next piece. */
  find(piece: Buffer, start: number): number {
    let at = this.#isEscaped ? start + 1 : start;
    this.#isEscaped = false;
    // Each turn starts at a byte that is not escaped.
    while (at < piece.length) {
      const near = Math.min(piece.length, at + NEAR_BYTES);
      while (at < near) {
        const byte = piece[at++];
        if (byte === QUOTE) return at;
        if (byte !== BACKSLASH) continue;
        this.hasEscape = true;
        at++;
      }
      if (at >= piece.length) break;
      const quote = piece.indexOf(QUOTE, at);
      const end = quote < 0 ? piece.length : quote;
      const isEscaped = countBackslashes(piece, at, end) % 2 === 1;
      this.hasEscape = true;
      if (quote >= 0 && !isEscaped) return quote + 1;
      at = quote < 0 && isEscaped ? end + 1 : quote < 0 ? end : quote + 1;
    }
    this.#isEscaped = at > piece.length;
    return -1;
  }
}

/** Counts the backslashes directly before a position. */
function countBackslashes(piece: Buffer, start: number, end: number): number {
  let at = end;
  while (at > start && piece[at - 1] === BACKSLASH) at--;
  return end - at;
}
