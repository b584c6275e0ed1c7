/**
 * 16-bit floats to 32-bit ones and back, on the bits: every pattern of 16 bits, quiet and signalling NaNs included,
 * comes back as it was, which a way over JavaScript's numbers does not promise.
 */

/** FP16 elements (IEEE 754 binary16) as the 32-bit floats they are exactly equal to. */
export function decodeFloat16(halfs: Uint16Array): Float32Array<ArrayBuffer> {
  return widened(halfs, (half) => {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
    if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
    if (fraction === 0) return sign;
    // Subnormal: shift the leading one into its hidden place.
    const shift = Math.clz32(fraction) - 21;
    return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
  });
}

/** 32-bit floats as FP16 elements, rounded to nearest, ties to even. */
export function encodeFloat16(floats: Float32Array): Uint16Array<ArrayBuffer> {
  return narrowed(floats, (bits) => {
    const sign = (bits >>> 16) & 0x8000;
    const exponent = (bits >>> 23) & 0xff;
    const fraction = bits & 0x7fffff;
    if (exponent === 0xff) return sign | 0x7c00 | keptNan(fraction, 13);
    if (exponent >= 113) {
      // A carry out of the fraction raises the exponent, up to infinity: as rounding should.
      return sign | Math.min(roundedShift(((exponent - 112) << 23) | fraction, 13), 0x7c00);
    }
    if (exponent < 102) return sign;
    return sign | roundedShift(0x800000 | fraction, 126 - exponent);
  });
}

/** BF16 elements (the upper half of binary32) as 32-bit floats. */
export function decodeBfloat16(bfloats: Uint16Array): Float32Array<ArrayBuffer> {
  return widened(bfloats, (bfloat) => bfloat << 16);
}

/** 32-bit floats as BF16 elements, rounded to nearest, ties to even. */
export function encodeBfloat16(floats: Float32Array): Uint16Array<ArrayBuffer> {
  return narrowed(floats, (bits) => {
    const isNan = (bits & 0x7fffffff) > 0x7f800000;
    if (isNan) return ((bits >>> 16) & 0xff80) | keptNan(bits & 0x7fffff, 16);
    return roundedShift(bits, 16);
  });
}

/** The upper bits of a NaN's fraction; never 0, which would make an infinity of it. */
function keptNan(fraction: number, shift: number): number {
  const kept = fraction >>> shift;
  return fraction !== 0 && kept === 0 ? 1 : kept;
}

/** Shifts right and rounds to nearest, ties to even. */
function roundedShift(bits: number, shift: number): number {
  const half = 2 ** (shift - 1);
  const kept = bits >>> shift;
  const rest = (bits >>> 0) % 2 ** shift;
  return rest > half || (rest === half && kept % 2 === 1) ? kept + 1 : kept;
}

function widened(from: Uint16Array, bitsFrom: (short: number) => number): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(from.length);
  for (let at = 0; at < from.length; at++) bits[at] = bitsFrom(from[at] as number);
  return new Float32Array(bits.buffer);
}

function narrowed(from: Float32Array, shortFrom: (bits: number) => number): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(from.buffer, from.byteOffset, from.length);
  const shorts = new Uint16Array(from.length);
  for (let at = 0; at < from.length; at++) shorts[at] = shortFrom(bits[at] as number);
  return shorts;
}
