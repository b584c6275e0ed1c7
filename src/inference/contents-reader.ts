import { WireType } from '@bufbuild/protobuf/wire';
import { BYTES_CONTENTS_TAG } from './field-tags.js';
import type { MessageCounter } from './message-limits.js';
import { getPackedField, holdsWholeElements, type PackedField } from './protobuf-packing.js';
import type { ProtobufReader } from './protobuf-reader.js';
import type { TensorContents } from './protocol-messages.js';

/**
 * Reads typed contents. Protobuf allows a field to be split into several pieces, packed or one element each, and the
 * contents into several messages. The elements are all of these concatenated.
 */
export class ContentsReader {
  #packed: Map<PackedField, ByteConcatenator> | undefined;
  #byteStrings: Uint8Array[] | undefined;

  /** Reads the contents up to `end`. Throws for malformed bytes, and for contents that exceed the limits of a message. */
  read(reader: ProtobufReader, end: number, counter: MessageCounter): void {
    for (let tag = reader.readTag(end); tag !== 0; tag = reader.readTag(end)) {
      const field = getPackedField(tag >>> 3);
      const wireType = tag & 7;
      if (tag === BYTES_CONTENTS_TAG) {
        counter.addElement();
        this.#byteStrings ??= [];
        this.#byteStrings.push(reader.copyBytes());
      } else if (field && wireType === WireType.LengthDelimited) {
        counter.addPiece();
        this.#add(field, reader.readBytes());
      } else if (field && wireType === getElementWireType(field)) {
        counter.addPiece();
        this.#add(field, reader.readNumberBytes(wireType));
      } else reader.skip(tag);
    }
  }

  /** Returns the contents. The typed arrays are copies, so that the message can be garbage-collected. */
  getContents(): TensorContents {
    const contents: TensorContents = {};
    if (this.#packed) for (const [{ name, unpack }, { bytes }] of this.#packed) contents[name] = unpack(bytes);
    if (this.#byteStrings) contents.bytesContents = this.#byteStrings;
    return contents;
  }

  #add(field: PackedField, bytes: Uint8Array): void {
    if (!holdsWholeElements(field, bytes)) throw new RangeError(`${field.name} ends within an element`);
    this.#packed ??= new Map();
    const pieces = this.#packed.get(field);
    if (pieces) pieces.add(bytes);
    else this.#packed.set(field, new ByteConcatenator(bytes));
  }
}

function getElementWireType({ elementBytes }: PackedField): WireType {
  if (elementBytes === undefined) return WireType.Varint;
  return elementBytes === 4 ? WireType.Bit32 : WireType.Bit64;
}

/** Concatenates bytes that arrive in pieces. The first piece is not copied, since usually there is only one. */
class ByteConcatenator {
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
