/** Smallest buffer for several chunks, in bytes. */
const MIN_BYTES = 1024;

const EMPTY: Uint8Array = new Uint8Array(0);

/**
 * Joins chunks as they arrive. Chunks that are kept apart take up to 300 bytes of memory each, and whoever sends a body chooses
 * how long they are.
 */
export class ByteCollector {
  #buffer: Uint8Array = EMPTY;
  #length = 0;

  /** Number of bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** All bytes so far; valid until the next chunk is added. */
  get bytes(): Uint8Array {
    return this.#length === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#length);
  }

  /** Adds a chunk. The first one is not copied, because most bodies have only one. */
  add(chunk: Uint8Array): void {
    const length = this.#length + chunk.length;
    if (this.#length === 0) this.#buffer = chunk;
    else {
      if (length > this.#buffer.length) this.#grow(Math.max(MIN_BYTES, length, 2 * this.#buffer.length));
      this.#buffer.set(chunk, this.#length);
    }
    this.#length = length;
  }

  #grow(length: number): void {
    const larger = new Uint8Array(length);
    larger.set(this.bytes);
    this.#buffer = larger;
  }
}

/** The text of UTF-8 bytes; each part that is not UTF-8 becomes U+FFFD. A byte order mark stays. */
export function decodeUtf8(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
