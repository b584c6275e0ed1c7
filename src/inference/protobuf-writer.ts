/** Minimum size of bytes that are only copied into the finished message, not into the writer's memory. */
const LARGE_BYTES = 1024;

/** Maximum length of a string that is written character by character. Node's encoder is faster for longer ones. */
const SHORT_TEXT_LENGTH = 32;

/** Initial size of the writer's memory. */
const MEMORY_BYTES = 4096;

/** Maximum size of memory that is reused for the next message. */
const MAX_REUSED_BYTES = 64 * 1024;

/** Maximum size of a varint, in bytes. */
const MAX_VARINT_BYTES = 10;

/** Large bytes that aren't in the memory. The finished message has them before the byte at `offset`. */
interface Insertion {
  offset: number;
  readonly bytes: Uint8Array;
}

/**
 * Writes a message in sequence, into memory that is reused. Fields of 1 KiB or more are copied once. The code is kept small, because a
 * call usually finds none of it in the processor's caches. For a short message, loading the code costs more than running it.
 */
export class ProtobufWriter {
  #memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  #position = 0;
  #insertions: Insertion[] = [];

  /**
   * Returns the bytes of a message. `writeFields` must finish before another message is written: the writer is shared, because
   * allocating its memory costs more than writing a short message.
   */
  static write<T>(writeFields: (writer: ProtobufWriter, message: T) => void, message: T): Buffer {
    try {
      writeFields(sharedWriter, message);
      return sharedWriter.#finish();
    } finally {
      // This also runs after a failure: otherwise the tensors would stay in memory until the next message.
      sharedWriter.#clear();
    }
  }

  /** Writes a signed or unsigned number of 64 bits as a varint. Throws `RangeError` for a larger number. */
  writeVarint(number: bigint): void {
    this.#makeRoom(MAX_VARINT_BYTES);
    const small = Number(number);
    if (small >= 0 && small <= 0x7fffffff) {
      this.#position = putVarint(this.#memory, this.#position, small);
      return;
    }
    if (number >= 2n ** 64n || number < -(2n ** 63n)) throw new RangeError(`${number} does not fit in 64 bits`);
    let rest = BigInt.asUintN(64, number);
    for (; rest > 0x7fn; rest >>= 7n) this.#memory[this.#position++] = Number(rest & 0x7fn) | 0x80;
    this.#memory[this.#position++] = Number(rest);
  }

  /** Writes a string field, or nothing if it is empty. Here and below, `tag` is one byte: fields 1 to 15. */
  writeText(tag: number, text: string): void {
    const { length } = text;
    if (length === 0) return;
    if (length <= SHORT_TEXT_LENGTH && this.#writeAscii(tag, text)) return;
    const bytes = Buffer.byteLength(text);
    this.#makeRoom(1 + MAX_VARINT_BYTES + bytes);
    this.#memory[this.#position++] = tag;
    this.#position = putVarint(this.#memory, this.#position, bytes);
    this.#position += this.#memory.write(text, this.#position);
  }

  /** Writes a bytes field. Large bytes must not change until the message is finished. */
  writeBytes(tag: number, bytes: Uint8Array): void {
    const { length } = bytes;
    const isLarge = length >= LARGE_BYTES;
    this.#makeRoom(1 + MAX_VARINT_BYTES + (isLarge ? 0 : length));
    this.#memory[this.#position++] = tag;
    this.#position = putVarint(this.#memory, this.#position, length);
    if (isLarge) this.#insertions.push({ offset: this.#position, bytes });
    else {
      this.#memory.set(bytes, this.#position);
      this.#position += length;
    }
  }

  /** Begins a field that is a message or packed numbers. Returns its start, for {@link closeField}. */
  openField(tag: number): number {
    this.#makeRoom(2);
    this.#memory[this.#position++] = tag;
    // Reserve one byte for the length: most fields are short.
    this.#position++;
    return this.#position;
  }

  /** Ends the field that {@link openField} began. */
  closeField(begin: number): void {
    let length = this.#position - begin;
    let first = this.#insertions.length;
    for (; first > 0 && (this.#insertions[first - 1] as Insertion).offset >= begin; first--) {
      length += (this.#insertions[first - 1] as Insertion).bytes.length;
    }
    if (length < 0x80) {
      this.#memory[begin - 1] = length;
      return;
    }
    const extraBytes = countVarintBytes(length) - 1;
    this.#makeRoom(extraBytes);
    this.#memory.copyWithin(begin + extraBytes, begin, this.#position);
    putVarint(this.#memory, begin - 1, length);
    this.#position += extraBytes;
    for (; first < this.#insertions.length; first++) (this.#insertions[first] as Insertion).offset += extraBytes;
  }

  #finish(): Buffer {
    let length = this.#position;
    for (const { bytes } of this.#insertions) length += bytes.length;
    const message = Buffer.allocUnsafe(length);
    let from = 0;
    let to = 0;
    for (const { offset, bytes } of this.#insertions) {
      message.set(this.#memory.subarray(from, offset), to);
      to += offset - from;
      message.set(bytes, to);
      to += bytes.length;
      from = offset;
    }
    message.set(this.#memory.subarray(from, this.#position), to);
    return message;
  }

  #clear(): void {
    this.#position = 0;
    if (this.#insertions.length > 0) this.#insertions = [];
    if (this.#memory.length > MAX_REUSED_BYTES) this.#memory = Buffer.allocUnsafeSlow(MEMORY_BYTES);
  }

  /** Writes a string field if the string is ASCII. Returns whether it did. */
  #writeAscii(tag: number, text: string): boolean {
    const { length } = text;
    this.#makeRoom(2 + length);
    const memory = this.#memory;
    const begin = this.#position + 2;
    for (let n = 0; n < length; n++) {
      const code = text.charCodeAt(n);
      if (code > 0x7f) return false;
      memory[begin + n] = code;
    }
    memory[this.#position] = tag;
    memory[this.#position + 1] = length;
    this.#position = begin + length;
    return true;
  }

  #makeRoom(bytes: number): void {
    if (this.#position + bytes <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#position + bytes));
    larger.set(this.#memory.subarray(0, this.#position));
    this.#memory = larger;
  }
}

const sharedWriter = new ProtobufWriter();

/** Writes a number of 32 bits as a varint at an offset. Returns where it ends. */
function putVarint(bytes: Buffer, offset: number, number: number): number {
  let position = offset;
  let rest = number;
  for (; rest > 0x7f; rest >>>= 7) bytes[position++] = (rest & 0x7f) | 0x80;
  bytes[position++] = rest;
  return position;
}

function countVarintBytes(number: number): number {
  return Math.max(1, Math.ceil((32 - Math.clz32(number)) / 7));
}
