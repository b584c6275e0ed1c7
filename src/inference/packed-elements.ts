import type { ContentsField } from './datatype.js';
import { createVarintError, VARINT_BITS } from './protobuf-reader.js';

// Elements are copied as they are in memory, here and where a tensor is raw; on the wire they are little-endian.
if (new Uint8Array(Uint16Array.of(1).buffer)[0] !== 1) {
  throw new Error(
    'this machine is big-endian, and AnyServe writes tensors as they are in memory; use a little-endian one',
  );
}

/** The elements of one field of typed contents. */
export type Elements = ArrayLike<number> | ArrayLike<bigint> | readonly boolean[];

/** The fields whose elements are packed. */
export type PackedName = Exclude<ContentsField, 'bytesContents'>;

/** How the numbers of one field of typed contents are written in a row, as protobuf packs them. */
export interface PackedField {
  readonly name: PackedName;
  /** What leads the packed elements: the field's number, and that a length comes. */
  readonly tag: number;
  /** The bytes of each element; undefined for varints, which are as long as they need to be. */
  readonly elementBytes: 4 | 8 | undefined;
  /** The bytes of the elements; where they are those of a typed array already, a view of it. */
  pack(elements: Elements): Uint8Array;
  /** The elements of whole bytes, as {@link holdsWholeElements} says: a typed array of its own, or plain booleans. */
  unpack(bytes: Uint8Array): Elements;
}

/**
 * The fields in the order of their published numbers, from 1 on. This is where a tensor's elements are touched one by one
 * or, for floats, not at all: a mebibyte of floats is copied once, where the generated code takes five milliseconds for them.
 */
const ROWS: readonly (Omit<PackedField, 'tag' | 'elementBytes'> & { readonly elementBytes?: 4 | 8 })[] = [
  { name: 'boolContents', pack: packBools, unpack: unpackBools },
  { name: 'intContents', pack: pack32, unpack: (bytes) => unpack32(bytes, Int32Array) },
  { name: 'int64Contents', pack: pack64, unpack: (bytes) => unpack64(bytes, BigInt64Array) },
  { name: 'uintContents', pack: pack32, unpack: (bytes) => unpack32(bytes, Uint32Array) },
  { name: 'uint64Contents', pack: pack64, unpack: (bytes) => unpack64(bytes, BigUint64Array) },
  {
    name: 'fp32Contents',
    elementBytes: 4,
    pack: (floats) => bytesOf(floats instanceof Float32Array ? floats : Float32Array.from(floats as number[])),
    unpack: (bytes) => new Float32Array(copyToBuffer(bytes)),
  },
  {
    name: 'fp64Contents',
    elementBytes: 8,
    pack: (floats) => bytesOf(floats instanceof Float64Array ? floats : Float64Array.from(floats as number[])),
    unpack: (bytes) => new Float64Array(copyToBuffer(bytes)),
  },
];

const BY_NUMBER: readonly PackedField[] = ROWS.map((row, at) => ({
  elementBytes: undefined,
  ...row,
  tag: ((at + 1) << 3) | 2,
}));

/** The field of a published number; undefined where that is none of numbers in a row. */
export function getPackedField(number: number): PackedField | undefined {
  return BY_NUMBER[number - 1];
}

/** The fields by their names. */
export const PACKED_FIELDS = Object.fromEntries(BY_NUMBER.map((field) => [field.name, field])) as Readonly<
  Record<PackedName, PackedField>
>;

/** Whether bytes end where an element ends. */
export function holdsWholeElements({ elementBytes }: PackedField, bytes: Uint8Array): boolean {
  if (elementBytes !== undefined) return bytes.length % elementBytes === 0;
  return bytes.length === 0 || (bytes[bytes.length - 1] as number) < 0x80;
}

/**
 * A copy of bytes, in memory that typed arrays of any kind can begin at; where they are in a message, they need not. It
 * is not filled with zeros before, as that of a new typed array.
 */
export function copyToBuffer(bytes: Uint8Array): ArrayBuffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  copy.set(bytes);
  return copy.buffer;
}

function bytesOf(array: NodeJS.TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function packBools(bools: Elements): Uint8Array {
  return Uint8Array.from(bools as readonly boolean[], Number);
}

function unpackBools(bytes: Uint8Array): boolean[] {
  const bools = new Array<boolean>(varintsIn(bytes));
  for (let at = 0, n = 0; n < bools.length; n++) {
    const start = at;
    let bits = 0;
    do bits |= (bytes[at] as number) & 0x7f;
    while ((bytes[at++] as number) >= 0x80);
    if (7 * (at - start) > VARINT_BITS) throw createVarintError();
    bools[n] = bits !== 0;
  }
  return bools;
}

/** Packs integers of at most 32 bits. Negative ones take ten bytes, as if they had 64 bits. */
function pack32(elements: Elements): Uint8Array {
  const numbers = elements as ArrayLike<number>;
  let length = 0;
  for (let n = 0; n < numbers.length; n++) length += (numbers[n] as number) < 0 ? 10 : bytesOf32(numbers[n] as number);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let n = 0; n < numbers.length; n++) {
    const number = numbers[n] as number;
    let rest = number;
    for (; rest > 0x7f || rest < 0; rest >>>= 7) bytes[at++] = rest | 0x80;
    bytes[at++] = rest;
    if (number < 0) at = signExtend(bytes, at);
  }
  return bytes;
}

/** Makes the five bytes of a negative number, which end there, the ten of the same with 64 bits; gives their end. */
function signExtend(bytes: Uint8Array, end: number): number {
  bytes[end - 1] = 0xf0 | (bytes[end - 1] as number);
  // One by one: for so few bytes a call of `fill` takes longer than all the rest.
  bytes[end] = 0xff;
  bytes[end + 1] = 0xff;
  bytes[end + 2] = 0xff;
  bytes[end + 3] = 0xff;
  bytes[end + 4] = 1;
  return end + 5;
}

/** Packs integers of 64 bits, by their halves: a bigint each would be an object each. */
function pack64(elements: Elements): Uint8Array {
  const bigints =
    elements instanceof BigInt64Array || elements instanceof BigUint64Array
      ? elements
      : BigInt64Array.from(elements as bigint[]);
  const halves = new Uint32Array(bigints.buffer, bigints.byteOffset, bigints.length * 2);
  let length = 0;
  for (let n = 0; n < halves.length; n += 2) {
    const high = halves[n + 1] as number;
    length += high === 0 ? bytesOf32(halves[n] as number) : Math.ceil((64 - Math.clz32(high)) / 7);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let n = 0; n < halves.length; n += 2) {
    let low = halves[n] as number;
    let high = halves[n + 1] as number;
    for (; high !== 0 || low > 0x7f; high >>>= 7) {
      bytes[at++] = low | 0x80;
      low = ((low >>> 7) | (high << 25)) >>> 0;
    }
    bytes[at++] = low;
  }
  return bytes;
}

/** Unpacks integers of 32 bits; of longer ones the upper bits are dropped, as protobuf has it. */
function unpack32<T extends Int32Array | Uint32Array>(bytes: Uint8Array, array: new (length: number) => T): T {
  const numbers = new array(varintsIn(bytes));
  for (let at = 0, n = 0; n < numbers.length; n++) {
    let byte = bytes[at++] as number;
    let number = byte & 0x7f;
    let shift = 7;
    for (; byte >= 0x80; shift += 7) {
      byte = bytes[at++] as number;
      if (shift < 32) number |= (byte & 0x7f) << shift;
    }
    if (shift > VARINT_BITS) throw createVarintError();
    numbers[n] = number;
  }
  return numbers;
}

/** Unpacks integers of 64 bits, by their halves. */
function unpack64<T extends BigInt64Array | BigUint64Array>(bytes: Uint8Array, array: new (length: number) => T): T {
  const bigints = new array(varintsIn(bytes));
  const halves = new Int32Array(bigints.buffer);
  for (let at = 0, n = 0; n < halves.length; n += 2) {
    let byte = bytes[at++] as number;
    let low = byte & 0x7f;
    let high = 0;
    let shift = 7;
    for (; byte >= 0x80; shift += 7) {
      byte = bytes[at++] as number;
      const bits = byte & 0x7f;
      if (shift < 32) low |= bits << shift;
      if (shift >= 28) high |= shift < 32 ? bits >>> (32 - shift) : bits << (shift - 32);
    }
    if (shift > VARINT_BITS) throw createVarintError();
    halves[n] = low;
    halves[n + 1] = high;
  }
  return bigints;
}

/** How many varints there are: the last byte of each is the one without the upper bit. */
function varintsIn(bytes: Uint8Array): number {
  let count = 0;
  for (let at = 0; at < bytes.length; at++) count += (bytes[at] as number) < 0x80 ? 1 : 0;
  return count;
}

/** The length of a varint of a number of at most 32 bits: seven bits a byte. */
function bytesOf32(number: number): number {
  if (number < 0x80) return 1;
  if (number < 0x4000) return 2;
  if (number < 0x200000) return 3;
  return number < 0x10000000 ? 4 : 5;
}
