/** From here on bytes stay where they are until the whole message is put together, instead of being moved about. */
const LARGE_BYTES = 1024;

/** Longer texts are handed to Node, which costs more than to write a few letters. */
const SHORT_TEXT = 32;

const MEMORY_BYTES = 4096;

/** More memory than this is not kept for the next message. */
const MOST_KEPT_BYTES = 64 * 1024;

/** The most bytes of a varint. */
const VARINT_BYTES = 10;

/** Large bytes that are not copied into the memory: in the finished message they stand before the byte at `place`. */
interface Insertion {
  place: number;
  readonly bytes: Uint8Array;
}

/**
 * Writes a message from its first byte to its last, into memory that is used again; large parts are copied once. It is
 * little code, because a call finds none of it in the processor's caches: that, and not the work, is what a short message costs.
 */
export class ProtobufWriter {
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #at = 0;
  #insertions: Insertion[] = [];

  /**
   * The bytes of a message whose fields `fields` writes, with the one shared writer: a message must be finished before the
   * next begins. The writer is shared because allocating its memory costs more than writing a short message.
   */
  static write<T>(fields: (writer: ProtobufWriter, message: T) => void, message: T): Buffer {
    try {
      fields(theWriter, message);
      return theWriter.#finish();
    } finally {
      // Also where a message cannot be written: its tensors would be kept until there is another one.
      theWriter.#clear();
    }
  }

  /** A number of 64 bits, signed or not, as a varint. Throws `RangeError` for one that needs more. */
  varint(number: bigint): void {
    this.#makeRoom(VARINT_BYTES);
    const small = Number(number);
    if (small >= 0 && small <= 0x7fffffff) {
      this.#at = putVarint(this.#memory, this.#at, small);
      return;
    }
    if (number >= 2n ** 64n || number < -(2n ** 63n)) throw new RangeError(`${number} is too large for 64 bits`);
    let rest = BigInt.asUintN(64, number);
    for (; rest > 0x7fn; rest >>= 7n) this.#memory[this.#at++] = Number(rest & 0x7fn) | 0x80;
    this.#memory[this.#at++] = Number(rest);
  }

  /** A field of text; none, where it is empty. `tag` is one byte, here and below: fields 1 to 15. */
  text(tag: number, text: string): void {
    const { length } = text;
    if (length === 0) return;
    if (length <= SHORT_TEXT && this.#asciiText(tag, text)) return;
    const bytes = Buffer.byteLength(text);
    this.#makeRoom(1 + VARINT_BYTES + bytes);
    this.#memory[this.#at++] = tag;
    this.#at = putVarint(this.#memory, this.#at, bytes);
    this.#at += this.#memory.write(text, this.#at);
  }

  /** A field of bytes. Large ones must stay as they are until the message is finished. */
  bytes(tag: number, bytes: Uint8Array): void {
    const { length } = bytes;
    const isLarge = length >= LARGE_BYTES;
    this.#makeRoom(1 + VARINT_BYTES + (isLarge ? 0 : length));
    this.#memory[this.#at++] = tag;
    this.#at = putVarint(this.#memory, this.#at, length);
    if (isLarge) this.#insertions.push({ place: this.#at, bytes });
    else {
      this.#memory.set(bytes, this.#at);
      this.#at += length;
    }
  }

  /** Begins a field that is a message, or packed numbers. Where it began is what {@link close} is told. */
  open(tag: number): number {
    this.#makeRoom(2);
    this.#memory[this.#at++] = tag;
    // Most are so short that their length is one byte.
    this.#at++;
    return this.#at;
  }

  /** Ends the field that began there. */
  close(begin: number): void {
    let length = this.#at - begin;
    let first = this.#insertions.length;
    for (; first > 0 && (this.#insertions[first - 1] as Insertion).place >= begin; first--) {
      length += (this.#insertions[first - 1] as Insertion).bytes.length;
    }
    if (length < 0x80) {
      this.#memory[begin - 1] = length;
      return;
    }
    const more = varintBytes(length) - 1;
    this.#makeRoom(more);
    this.#memory.copyWithin(begin + more, begin, this.#at);
    putVarint(this.#memory, begin - 1, length);
    this.#at += more;
    for (; first < this.#insertions.length; first++) (this.#insertions[first] as Insertion).place += more;
  }

  #finish(): Buffer {
    let length = this.#at;
    for (const { bytes } of this.#insertions) length += bytes.length;
    const message = Buffer.allocUnsafe(length);
    let from = 0;
    let to = 0;
    for (const { place, bytes } of this.#insertions) {
      message.set(this.#memory.subarray(from, place), to);
      to += place - from;
      message.set(bytes, to);
      to += bytes.length;
      from = place;
    }
    message.set(this.#memory.subarray(from, this.#at), to);
    return message;
  }

  #clear(): void {
    this.#at = 0;
    if (this.#insertions.length > 0) this.#insertions = [];
    if (this.#memory.length > MOST_KEPT_BYTES) this.#memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  }

  /** Writes a field of text if it is ASCII, and else nothing; whether it did. */
  #asciiText(tag: number, text: string): boolean {
    const { length } = text;
    this.#makeRoom(2 + length);
    const memory = this.#memory;
    const begin = this.#at + 2;
    for (let n = 0; n < length; n++) {
      const code = text.charCodeAt(n);
      if (code > 0x7f) return false;
      memory[begin + n] = code;
    }
    memory[this.#at] = tag;
    memory[this.#at + 1] = length;
    this.#at = begin + length;
    return true;
  }

  #makeRoom(bytes: number): void {
    if (this.#at + bytes <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#at + bytes));
    larger.set(this.#memory.subarray(0, this.#at));
    this.#memory = larger;
  }
}

const theWriter = new ProtobufWriter();

/** Writes a number of 32 bits to a place; where it ends. */
function putVarint(bytes: Buffer, place: number, number: number): number {
  let at = place;
  let rest = number;
  for (; rest > 0x7f; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80;
  bytes[at++] = rest;
  return at;
}

function varintBytes(number: number): number {
  return Math.max(1, Math.ceil((32 - Math.clz32(number)) / 7));
}
