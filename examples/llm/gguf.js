// Writes GGUF, the file format of llama.cpp, version 3. Source: the format's description in ggml's docs/gguf.md.

/** The format's numbers for types of values. */
const VALUE = { int32: 5, uint32: 4, float32: 6, bool: 7, string: 8, array: 9 };

/** The format's numbers for encodings of tensors, and their encoders. */
const ENCODINGS = {
  F32: { number: 0, encode: (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength) },
  Q8_0: { number: 8, encode: encodeQ8Blocks },
};

/** Tensors start at multiples of this many bytes. */
const ALIGNMENT_BYTES = 32;

/**
 * Serializes a GGUF file. Metadata values are strings, booleans, integers, `{ float: 0.5 }`, or arrays: of strings, a
 * Float32Array or an Int32Array. Tensors are `{ name, shape, encoding, data }`: the shape starts with the length of a row,
 * the encoding is F32 or Q8_0, the data is a Float32Array.
 */
export function serializeGguf(metadata, tensors) {
  const head = [
    Buffer.from('GGUF'),
    encodeUint32(3),
    encodeUint64(tensors.length),
    encodeUint64(Object.keys(metadata).length),
  ];
  for (const [key, value] of Object.entries(metadata)) head.push(encodeText(key), ...encodeValue(value));
  const bodies = [];
  let offset = 0;
  for (const { name, shape, encoding, data } of tensors) {
    const { number, encode } = ENCODINGS[encoding];
    head.push(
      encodeText(name),
      encodeUint32(shape.length),
      ...shape.map(encodeUint64),
      encodeUint32(number),
      encodeUint64(offset),
    );
    const body = pad(encode(data));
    bodies.push(body);
    offset += body.length;
  }
  return Buffer.concat([pad(Buffer.concat(head)), ...bodies]);
}

function encodeValue(value) {
  if (typeof value === 'string') return [encodeUint32(VALUE.string), encodeText(value)];
  if (typeof value === 'boolean') return [encodeUint32(VALUE.bool), Buffer.of(value ? 1 : 0)];
  if (typeof value === 'number') return [encodeUint32(VALUE.uint32), encodeUint32(value)];
  if (value instanceof Float32Array) return encodeArray(VALUE.float32, value.length, Buffer.from(value.buffer));
  if (value instanceof Int32Array) return encodeArray(VALUE.int32, value.length, Buffer.from(value.buffer));
  if (Array.isArray(value)) return encodeArray(VALUE.string, value.length, Buffer.concat(value.map(encodeText)));
  return [encodeUint32(VALUE.float32), Buffer.from(Float32Array.of(value.float).buffer)];
}

function encodeArray(type, length, elements) {
  return [encodeUint32(VALUE.array), encodeUint32(type), encodeUint64(length), elements];
}

function encodeText(string) {
  const bytes = Buffer.from(string);
  return Buffer.concat([encodeUint64(bytes.length), bytes]);
}

function encodeUint32(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}

function encodeUint64(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(number));
  return bytes;
}

function pad(bytes) {
  const missing = -bytes.length & (ALIGNMENT_BYTES - 1);
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}

/** Encodes numbers in blocks of 32: a 16-bit scale, and each number as a multiple of it from -127 to 127. */
function encodeQ8Blocks(data) {
  const blocks = Buffer.alloc((data.length / 32) * 34);
  for (let block = 0; block < data.length / 32; block++) {
    const numbers = data.subarray(block * 32, block * 32 + 32);
    const scale = numbers.reduce((maximum, number) => Math.max(maximum, Math.abs(number)), 0) / 127;
    blocks.writeUInt16LE(toFloat16Bits(scale), block * 34);
    for (const [i, number] of numbers.entries()) {
      blocks.writeInt8(scale === 0 ? 0 : Math.round(number / scale), block * 34 + 2 + i);
    }
  }
  return blocks;
}

/** Converts a non-negative number to the bits of a 16-bit float, rounded to nearest. */
function toFloat16Bits(number) {
  if (number < 2 ** -14) return Math.round(number * 2 ** 24);
  const exponent = Math.floor(Math.log2(number));
  return (exponent + 15) * 1024 + Math.round((number / 2 ** exponent - 1) * 1024);
}
