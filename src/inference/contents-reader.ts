import { WireType } from '@bufbuild/protobuf/wire';
import { BYTES_CONTENTS_TAG } from './field-tags.js';
import type { MessageCounter } from './message-limits.js';
import { getPackedField, holdsWholeElements, type PackedField } from './packed-elements.js';
import type { ProtobufReader } from './protobuf-reader.js';
import type { TensorContents } from './protocol-messages.js';

/**
 * Reads typed contents. A field may come in several pieces, packed or element by element, and the contents in several
 * messages; all of them together are the elements.
 */
export class ContentsReader {
  #packed: Map<PackedField, JoinedBytes> | undefined;
  #byteStrings: Uint8Array[] | undefined;

  /** Reads contents that end there. Throws for bytes that are none, and for more than a message may hold. */
  read(reader: ProtobufReader, end: number, count: MessageCounter): void {
    for (let tag = reader.tag(end); tag !== 0; tag = reader.tag(end)) {
      const field = getPackedField(tag >>> 3);
      const wireType = tag & 7;
      if (tag === BYTES_CONTENTS_TAG) {
        count.addElement();
        this.#byteStrings ??= [];
        this.#byteStrings.push(reader.copyOfBytes());
      } else if (field && wireType === WireType.LengthDelimited) {
        count.addPiece();
        this.#add(field, reader.bytes());
      } else if (field && wireType === elementWireType(field)) {
        count.addPiece();
        this.#add(field, reader.numberBytes(wireType));
      } else reader.skip(tag);
    }
  }

  /** What was read: typed arrays of their own, so that the message is free to go. */
  contents(): TensorContents {
    const contents: TensorContents = {};
    if (this.#packed) for (const [{ name, unpack }, { bytes }] of this.#packed) contents[name] = unpack(bytes);
    if (this.#byteStrings) contents.bytesContents = this.#byteStrings;
    return contents;
  }

  #add(field: PackedField, bytes: Uint8Array): void {
    if (!holdsWholeElements(field, bytes)) throw new RangeError(`${field.name} end within an element`);
    this.#packed ??= new Map();
    const joined = this.#packed.get(field);
    if (joined) joined.add(bytes);
    else this.#packed.set(field, new JoinedBytes(bytes));
  }
}

function elementWireType({ elementBytes }: PackedField): WireType {
  if (elementBytes === undefined) return WireType.Varint;
  return elementBytes === 4 ? WireType.Bit32 : WireType.Bit64;
}

/** Bytes that come in pieces. The first piece stays where it is, since most come in one. */
class JoinedBytes {
  #buffer: Uint8Array;
  #length: number;

  constructor(first: Uint8Array) {
    this.#buffer = first;
    this.#length = first.length;
  }

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  add(piece: Uint8Array): void {
    const length = this.#length + piece.length;
    if (length > this.#buffer.length) {
      const larger = new Uint8Array(2 * length);
      larger.set(this.bytes);
      this.#buffer = larger;
    }
    this.#buffer.set(piece, this.#length);
    this.#length = length;
  }
}
