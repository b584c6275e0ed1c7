// Writes GGUF, the file format of llama.cpp, version 3. Source: the format's description in ggml's docs/gguf.md.

/** How the format numbers the types of values. */
const VALUE = { int32: 5, uint32: 4, float32: 6, bool: 7, string: 8, array: 9 };

/** How the format numbers the encodings of tensors, and what they make of numbers. */
const ENCODINGS = {
  F32: { number: 0, encode: (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength) },
  Q8_0: { number: 8, encode: q8Blocks },
};

/** Tensors begin at multiples of so many bytes. */
const ALIGNMENT = 32;

/**
 * A GGUF file's bytes. Metadata are texts, booleans, whole numbers, `{ float: 0.5 }`, or arrays: of texts, a
 * Float32Array or an Int32Array. Tensors are `{ name, shape, encoding, data }`: the shape with the length of a row
 * first, the encoding F32 or Q8_0, the data a Float32Array.
 */
export function ggufBytes(metadata, tensors) {
  const head = [Buffer.from('GGUF'), uint32(3), uint64(tensors.length), uint64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) head.push(text(key), ...typedValue(value));
  const bodies = [];
  let offset = 0;
  for (const { name, shape, encoding, data } of tensors) {
    const { number, encode } = ENCODINGS[encoding];
    head.push(text(name), uint32(shape.length), ...shape.map(uint64), uint32(number), uint64(offset));
    const body = padded(encode(data));
    bodies.push(body);
    offset += body.length;
  }
  return Buffer.concat([padded(Buffer.concat(head)), ...bodies]);
}

function typedValue(value) {
  if (typeof value === 'string') return [uint32(VALUE.string), text(value)];
  if (typeof value === 'boolean') return [uint32(VALUE.bool), Buffer.of(value ? 1 : 0)];
  if (typeof value === 'number') return [uint32(VALUE.uint32), uint32(value)];
  if (value instanceof Float32Array) return array(VALUE.float32, value.length, Buffer.from(value.buffer));
  if (value instanceof Int32Array) return array(VALUE.int32, value.length, Buffer.from(value.buffer));
  if (Array.isArray(value)) return array(VALUE.string, value.length, Buffer.concat(value.map(text)));
  return [uint32(VALUE.float32), Buffer.from(Float32Array.of(value.float).buffer)];
}

function array(type, length, elements) {
  return [uint32(VALUE.array), uint32(type), uint64(length), elements];
}

function text(string) {
  const bytes = Buffer.from(string);
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function uint32(number) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}

function uint64(number) {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(number));
  return bytes;
}

function padded(bytes) {
  const missing = -bytes.length & (ALIGNMENT - 1);
  return missing === 0 ? bytes : Buffer.concat([bytes, Buffer.alloc(missing)]);
}

/** Numbers in blocks of 32: a 16-bit scale, and each number as a multiple of it from -127 to 127. */
function q8Blocks(data) {
  const blocks = Buffer.alloc((data.length / 32) * 34);
  for (let block = 0; block < data.length / 32; block++) {
    const numbers = data.subarray(block * 32, block * 32 + 32);
    const scale = numbers.reduce((most, number) => Math.max(most, Math.abs(number)), 0) / 127;
    blocks.writeUInt16LE(halfBits(scale), block * 34);
    for (const [at, number] of numbers.entries()) {
      blocks.writeInt8(scale === 0 ? 0 : Math.round(number / scale), block * 34 + 2 + at);
    }
  }
  return blocks;
}

/** A number from 0 on as the bits of a 16-bit float, rounded to the nearest. */
function halfBits(number) {
  if (number < 2 ** -14) return Math.round(number * 2 ** 24);
  const exponent = Math.floor(Math.log2(number));
  return (exponent + 15) * 1024 + Math.round((number / 2 ** exponent - 1) * 1024);
}
