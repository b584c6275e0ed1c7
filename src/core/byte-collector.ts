/** Minimum size of a buffer that holds several chunks, in bytes. */
const MIN_BYTES = 1024;

const EMPTY: Uint8Array = new Uint8Array(0);

/**
 * Concatenates chunks as they arrive. A list of chunks would take up to 300 bytes of overhead for each, and the sender of a
 * body chooses how small they are.
 */
export class ByteCollector {
  #buffer: Uint8Array = EMPTY;
  #length = 0;

  /** Number of bytes added. */
  get length(): number {
    return this.#length;
  }

  /** All bytes added. Valid until the next chunk is added. */
  get bytes(): Uint8Array {
    return this.#length === this.#buffer.length ? this.#buffer : this.#buffer.subarray(0, this.#length);
  }

  /** Adds a chunk. Does not copy the first one, because most bodies have only one. */
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

/** Decodes UTF-8. Invalid sequences become U+FFFD. Keeps a byte order mark. */
export function decodeUtf8(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
