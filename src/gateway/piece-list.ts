/** Maximum size of a piece that is copied, in bytes. */
const MAX_COPIED_BYTES = 1024;

/** Size of the pages that small pieces are copied to, in bytes. */
const PAGE_BYTES = 8 * 1024;

const NO_PAGE = Buffer.alloc(0);

/**
 * Collects the pieces of a body, and joins small ones. Each would take up to 300 bytes of overhead and keep the memory that it was
 * received in, and the sender of a body chooses how small they are. Large pieces are not copied. Neither is the first one, because
 * most bodies have only one.
 */
export class PieceList {
  readonly pieces: Buffer[] = [];
  #page: Buffer = NO_PAGE;
  /** Where the free part of the page begins. */
  #used = 0;
  /** Where the last piece begins, if it is in the page. */
  #joinedAt = 0;
  #isJoining = false;

  add(piece: Buffer): void {
    if (piece.length > MAX_COPIED_BYTES || this.pieces.length === 0) {
      this.#isJoining = false;
      this.pieces.push(piece);
      return;
    }
    if (this.#used + piece.length > this.#page.length) {
      this.#page = Buffer.allocUnsafeSlow(PAGE_BYTES);
      this.#used = 0;
      this.#isJoining = false;
    }
    if (this.#isJoining) this.pieces.pop();
    else this.#joinedAt = this.#used;
    this.#isJoining = true;
    this.#used += piece.copy(this.#page, this.#used);
    this.pieces.push(this.#page.subarray(this.#joinedAt, this.#used));
  }
}
