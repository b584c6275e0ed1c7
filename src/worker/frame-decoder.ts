/** Limits of a frame decoder, and the callbacks it reports to. */
export interface FrameLimits {
  /** Maximum size of a message as transmitted, in bytes. */
  readonly maxMessageBytes: number;
  /** Maximum number of messages in one DATA frame. An empty message becomes an object a hundred times its size. */
  readonly maxMessagesPerFrame: number;
  /** Called with the buffer size of the current message before the buffer is allocated. Throws if the memory budget is used up. */
  onAllocate(bytes: number): void;
  /** Called when the current message is complete. */
  onComplete(): void;
}

/** Size of the header before each message: 1 byte for the compressed flag, 4 for the length. */
const HEADER_BYTES = 5;

/** Initial buffer size of a message. The buffer grows with the data that arrives, by a factor of 4 each time. */
const FIRST_BUFFER_BYTES = 64 * 1024;

/**
 * Assembles length-prefixed messages from the chunks of a stream. Returned messages include their 5-byte header. It
 * allocates at most four times what has arrived, or 64 KiB: an announced length alone takes no memory. It copies the
 * chunks, because each is a slice of a larger buffer of the connection, which a few bytes would keep alive.
 */
export class FrameDecoder {
  readonly #limits: FrameLimits;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerLength = 0;
  #buffer: Buffer | undefined;
  #filled = 0;
  /** Size of the current message with its header. */
  #size = 0;

  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  /** Whether a message has arrived only in part. */
  get isPartial(): boolean {
    return this.#headerLength > 0;
  }

  /** Adds a chunk and returns the messages that it completes. Throws if a limit is exceeded. */
  write(data: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let offset = 0;
    while (offset < data.length) {
      offset += this.#headerLength < HEADER_BYTES ? this.#readHeader(data, offset) : this.#readBody(data, offset);
      if (this.#headerLength < HEADER_BYTES || this.#filled < this.#size) continue;
      if (messages.length === this.#limits.maxMessagesPerFrame) throw new Error('too many messages in one frame');
      messages.push(this.#buffer as Buffer);
      this.#headerLength = 0;
      this.#buffer = undefined;
      this.#limits.onComplete();
    }
    return messages;
  }

  #readHeader(data: Buffer, offset: number): number {
    const read = data.copy(this.#header, this.#headerLength, offset, offset + HEADER_BYTES - this.#headerLength);
    this.#headerLength += read;
    if (this.#headerLength < HEADER_BYTES) return read;
    const length = this.#header.readUInt32BE(1);
    const { maxMessageBytes } = this.#limits;
    if (length > maxMessageBytes) throw new Error(`Received message larger than max (${length} vs ${maxMessageBytes})`);
    this.#size = HEADER_BYTES + length;
    this.#grow(Math.min(this.#size, Math.max(FIRST_BUFFER_BYTES, data.length - offset)));
    this.#header.copy(this.#buffer as Buffer);
    this.#filled = HEADER_BYTES;
    return read;
  }

  #readBody(data: Buffer, offset: number): number {
    const end = Math.min(data.length, offset + this.#size - this.#filled);
    const neededBytes = this.#filled + end - offset;
    const { length } = this.#buffer as Buffer;
    if (neededBytes > length) this.#grow(Math.min(this.#size, Math.max(neededBytes, 4 * length)));
    data.copy(this.#buffer as Buffer, this.#filled, offset, end);
    this.#filled = neededBytes;
    return end - offset;
  }

  #grow(length: number): void {
    this.#limits.onAllocate(length);
    const larger = Buffer.allocUnsafe(length);
    this.#buffer?.copy(larger, 0, 0, this.#filled);
    this.#buffer = larger;
  }
}
