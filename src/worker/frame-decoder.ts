/** What a decoder may take, and what it reports. */
export interface FrameLimits {
  /** Maximum size of a message as it is on the wire. */
  readonly maxMessageBytes: number;
  /** Maximum number of messages in one DATA frame. Of an empty message comes an object of a hundred times its size. */
  readonly maxMessagesPerFrame: number;
  /** Reports how many bytes the message that is being received holds, before they are held. Throws when there is no room. */
  onHold(bytes: number): void;
  /** Reports that the message that was being received is complete. */
  onComplete(): void;
}

/** What precedes each message: whether it is compressed, and its length in 4 bytes. */
const HEAD_BYTES = 5;

/** The size of the buffer that a message begins with; it grows with what arrives, four times as large each time. */
const FIRST_BUFFER_BYTES = 64 * 1024;

/**
 * Puts messages together from what arrives on a stream, each with its 5-byte head. It holds no more than was sent, or
 * 64 KiB, times four: a length that is only announced takes no memory. And it holds copies: what arrives is part of a larger
 * buffer of the connection, which a few bytes would keep.
 */
export class FrameDecoder {
  readonly #limits: FrameLimits;
  readonly #head = Buffer.alloc(HEAD_BYTES);
  #headLength = 0;
  #buffer: Buffer | undefined;
  #filled = 0;
  /** The size of the message that is being received, with its head. */
  #size = 0;

  constructor(limits: FrameLimits) {
    this.#limits = limits;
  }

  /** Whether a part of a message has arrived, and not yet the rest. */
  get isPartial(): boolean {
    return this.#headLength > 0;
  }

  /** Takes what has arrived, and returns the messages that are complete with it. Throws for what exceeds a limit. */
  write(data: Buffer): Buffer[] {
    const messages: Buffer[] = [];
    let at = 0;
    while (at < data.length) {
      at += this.#headLength < HEAD_BYTES ? this.#readHead(data, at) : this.#readBody(data, at);
      if (this.#headLength < HEAD_BYTES || this.#filled < this.#size) continue;
      if (messages.length === this.#limits.maxMessagesPerFrame) throw new Error('too many messages at once');
      messages.push(this.#buffer as Buffer);
      this.#headLength = 0;
      this.#buffer = undefined;
      this.#limits.onComplete();
    }
    return messages;
  }

  #readHead(data: Buffer, at: number): number {
    const read = data.copy(this.#head, this.#headLength, at, at + HEAD_BYTES - this.#headLength);
    this.#headLength += read;
    if (this.#headLength < HEAD_BYTES) return read;
    const length = this.#head.readUInt32BE(1);
    const { maxMessageBytes } = this.#limits;
    if (length > maxMessageBytes) throw new Error(`Received message larger than max (${length} vs ${maxMessageBytes})`);
    this.#size = HEAD_BYTES + length;
    this.#grow(Math.min(this.#size, Math.max(FIRST_BUFFER_BYTES, data.length - at)));
    this.#head.copy(this.#buffer as Buffer);
    this.#filled = HEAD_BYTES;
    return read;
  }

  #readBody(data: Buffer, at: number): number {
    const end = Math.min(data.length, at + this.#size - this.#filled);
    const needed = this.#filled + end - at;
    const { length } = this.#buffer as Buffer;
    if (needed > length) this.#grow(Math.min(this.#size, Math.max(needed, 4 * length)));
    data.copy(this.#buffer as Buffer, this.#filled, at, end);
    this.#filled = needed;
    return end - at;
  }

  #grow(length: number): void {
    this.#limits.onHold(length);
    const larger = Buffer.allocUnsafe(length);
    this.#buffer?.copy(larger, 0, 0, this.#filled);
    this.#buffer = larger;
  }
}
