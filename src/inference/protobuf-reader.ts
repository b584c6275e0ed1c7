import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** The most bits that the bytes of a varint have, seven each. */
export const VARINT_BITS = 70;

/**
 * Reads the fields of a message, one after the other. It is little code, as {@link ProtobufWriter} is: groups, which few
 * messages have, are left to the protobuf runtime's reader. Throws for bytes that are no message.
 */
export class ProtobufReader {
  readonly #bytes: Buffer;
  #at = 0;
  /** Passes groups by; made for the first one, because a message may hold millions. */
  #groupReader: BinaryReader | undefined;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  /** Where the whole message ends. */
  get end(): number {
    return this.#bytes.length;
  }

  /** Whether there is more of what ends there. Throws where the last element went beyond. */
  isBefore(end: number): boolean {
    if (this.#at > end) throw tooLong();
    return this.#at < end;
  }

  /** The tag of the next field of a message that ends there; 0 at its end. */
  tag(end: number): number {
    if (!this.isBefore(end)) return 0;
    const tag = this.uint32();
    if (tag >>> 3 === 0) throw new RangeError('there is no field 0');
    return tag;
  }

  /** Where a field ends whose length comes next, within a message that ends there. */
  fieldEnd(end: number): number {
    const length = this.uint32();
    if (length > end - this.#at) throw tooLong();
    return this.#at + length;
  }

  /** An unsigned number of 32 bits; of a longer one the upper bits are dropped, as protobuf has it. */
  uint32(): number {
    const bytes = this.#bytes;
    // Beyond the end a byte is undefined, and not less than 0x80: there the number has no end.
    let byte = bytes[this.#at++] as number;
    let number = byte & 0x7f;
    for (let shift = 7; !(byte < 0x80); shift += 7) {
      if (shift === VARINT_BITS) throw createVarintError();
      byte = bytes[this.#at++] as number;
      if (shift < 32) number |= (byte & 0x7f) << shift;
    }
    return number >>> 0;
  }

  /** A signed number of 64 bits. */
  int64(): bigint {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < VARINT_BITS; shift += 7) {
      const byte = bytes[this.#at++] as number;
      const bits = byte & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift >= 28) high |= shift < 32 ? bits >>> (32 - shift) : bits << (shift - 32);
      if (!(byte < 0x80)) continue;
      return high === 0 ? BigInt(low >>> 0) : (BigInt(high) << 32n) | BigInt(low >>> 0);
    }
    throw createVarintError();
  }

  /** A text; of bytes that are no UTF-8 each part is U+FFFD. */
  text(): string {
    const begin = this.#passField();
    return this.#bytes.toString('utf8', begin, this.#at);
  }

  /** Bytes, where they are in the message. */
  bytes(): Buffer {
    const begin = this.#passField();
    return this.#bytes.subarray(begin, this.#at);
  }

  /** A copy of bytes: whoever keeps it does not keep the message. */
  copyOfBytes(): Buffer {
    const begin = this.#passField();
    const copy = Buffer.allocUnsafe(this.#at - begin);
    this.#bytes.copy(copy, 0, begin, this.#at);
    return copy;
  }

  /** The bytes of one number that is written as wire types 0, 1 and 5 are. */
  numberBytes(wireType: WireType): Buffer {
    const begin = this.#at;
    this.#passNumber(wireType);
    return this.#bytes.subarray(begin, this.#at);
  }

  /** Passes a field by whose tag this is. */
  skip(tag: number): void {
    const wireType: WireType = tag & 7;
    switch (wireType) {
      case WireType.Varint:
      case WireType.Bit64:
      case WireType.Bit32:
        this.#passNumber(wireType);
        return;
      case WireType.LengthDelimited:
        this.#passField();
        return;
      default:
        this.#groupReader ??= new BinaryReader(this.#bytes);
        this.#groupReader.pos = this.#at;
        this.#groupReader.skip(wireType, tag >>> 3);
        this.#at = this.#groupReader.pos;
    }
  }

  #passNumber(wireType: WireType): void {
    if (wireType !== WireType.Varint) this.#at += wireType === WireType.Bit32 ? 4 : 8;
    else while ((this.#bytes[this.#at++] as number) >= 0x80);
    if (this.#at > this.end) throw tooLong();
  }

  /** Passes the bytes whose length comes next; where they begin. */
  #passField(): number {
    const end = this.fieldEnd(this.end);
    const begin = this.#at;
    this.#at = end;
    return begin;
  }
}

function tooLong(): RangeError {
  return new RangeError('a field is longer than the message around it');
}

/** What is thrown for a varint that does not end within {@link VARINT_BITS}. */
export function createVarintError(): RangeError {
  return new RangeError('a varint of more than ten bytes');
}
