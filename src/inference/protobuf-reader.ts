import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** Maximum number of bits of a varint: ten bytes of seven bits. */
export const VARINT_BITS = 70;

/**
 * Reads the fields of a message in sequence. It is kept small for speed, like {@link ProtobufWriter}: groups, which few
 * messages have, are left to the reader of the protobuf runtime. Throws for malformed bytes.
 */
export class ProtobufReader {
  readonly #bytes: Buffer;
  #position = 0;
  /** Skips groups. Created once, because a message can have millions of them. */
  #groupReader: BinaryReader | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** End of the whole message. */
  get end(): number {
    return this.#bytes.length;
  }

  /** Returns whether the position is before `end`. Throws if the last element went beyond it. */
  isBefore(end: number): boolean {
    if (this.#position > end) throw createTooLongError();
    return this.#position < end;
  }

  /** Reads the tag of the next field of a message that ends at `end`. 0 at its end. */
  readTag(end: number): number {
    if (!this.isBefore(end)) return 0;
    const tag = this.readUint32();
    if (tag >>> 3 === 0) throw new RangeError('field number 0 is invalid');
    return tag;
  }

  /** Reads a length prefix, and returns the end of its field. The field must not exceed `end`. */
  readFieldEnd(end: number): number {
    const length = this.readUint32();
    if (length > end - this.#position) throw createTooLongError();
    return this.#position + length;
  }

  /** Reads an unsigned number of 32 bits. The upper bits of a longer one are dropped, as protobuf specifies. */
  readUint32(): number {
    const bytes = this.#bytes;
    // Past the end of the message, bytes are undefined. `!(undefined < 0x80)` is true, so the loop runs until the limit
    // throws.
    let byte = bytes[this.#position++] as number;
    let number = byte & 0x7f;
    for (let shift = 7; !(byte < 0x80); shift += 7) {
      if (shift === VARINT_BITS) throw createVarintError();
      byte = bytes[this.#position++] as number;
      if (shift < 32) number |= (byte & 0x7f) << shift;
    }
    return number >>> 0;
  }

  /** Reads a signed number of 64 bits. */
  readInt64(): bigint {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < VARINT_BITS; shift += 7) {
      const byte = bytes[this.#position++] as number;
      const bits = byte & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift >= 28) high |= shift < 32 ? bits >>> (32 - shift) : bits << (shift - 32);
      if (!(byte < 0x80)) continue;
      return high === 0 ? BigInt(low >>> 0) : (BigInt(high) << 32n) | BigInt(low >>> 0);
    }
    throw createVarintError();
  }

  /** Reads a string. Invalid UTF-8 becomes U+FFFD. */
  readText(): string {
    const begin = this.#skipField();
    return this.#bytes.toString('utf8', begin, this.#position);
  }

  /** Reads bytes, as a view of the message. */
  readBytes(): Buffer {
    const begin = this.#skipField();
    return this.#bytes.subarray(begin, this.#position);
  }

  /** Reads bytes, as a copy that doesn't keep the message in memory. */
  copyBytes(): Buffer {
    const begin = this.#skipField();
    const copy = Buffer.allocUnsafe(this.#position - begin);
    this.#bytes.copy(copy, 0, begin, this.#position);
    return copy;
  }

  /** Returns the bytes of one number of wire type 0, 1 or 5. */
  readNumberBytes(wireType: WireType): Buffer {
    const begin = this.#position;
    this.#skipNumber(wireType);
    return this.#bytes.subarray(begin, this.#position);
  }

  /** Skips the field with this tag. */
  skip(tag: number): void {
    const wireType: WireType = tag & 7;
    switch (wireType) {
      case WireType.Varint:
      case WireType.Bit64:
      case WireType.Bit32:
        this.#skipNumber(wireType);
        return;
      case WireType.LengthDelimited:
        this.#skipField();
        return;
      default:
        this.#groupReader ??= new BinaryReader(this.#bytes);
        this.#groupReader.pos = this.#position;
        this.#groupReader.skip(wireType, tag >>> 3);
        this.#position = this.#groupReader.pos;
    }
  }

  #skipNumber(wireType: WireType): void {
    if (wireType !== WireType.Varint) this.#position += wireType === WireType.Bit32 ? 4 : 8;
    else while ((this.#bytes[this.#position++] as number) >= 0x80);
    if (this.#position > this.end) throw createTooLongError();
  }

  /** Skips bytes with a length prefix. Returns where the bytes begin. */
  #skipField(): number {
    const end = this.readFieldEnd(this.end);
    const begin = this.#position;
    this.#position = end;
    return begin;
  }
}

function createTooLongError(): RangeError {
  return new RangeError('a field is longer than its enclosing message');
}

/** Creates the error for a varint that is longer than {@link VARINT_BITS}. */
export function createVarintError(): RangeError {
  return new RangeError('a varint is longer than ten bytes');
}
