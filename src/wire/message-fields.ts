import type { BinaryReader } from '@bufbuild/protobuf/wire';

/** The tag of the next field of a message that ends there; 0 at its end. Throws where the bytes are no message. */
export function nextTag(reader: BinaryReader, end: number): number {
  if (reader.pos === end) return 0;
  if (reader.pos > end) throw new RangeError('a field is longer than the message around it');
  const tag = reader.uint32();
  if (tag >>> 3 === 0) throw new RangeError('there is no field 0');
  return tag;
}

/** Where a field ends whose length comes next. Throws when that is beyond the end of the message around it. */
export function fieldEnd(reader: BinaryReader, end: number): number {
  const length = reader.uint32();
  if (length > end - reader.pos) throw new RangeError('a field is longer than the message around it');
  return reader.pos + length;
}

/** Throws unless what was read last ended where its length said. */
export function checkEnd(reader: BinaryReader, end: number): void {
  if (reader.pos !== end) throw new RangeError('a field does not end where its length says');
}
