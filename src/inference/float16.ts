/*
 * Converts 16-bit floats to 32-bit floats and back. It works on the bits, so that every pattern of 16 bits survives a round
 * trip, including quiet and signaling NaNs. JavaScript numbers don't guarantee that.
 */

/** Converts FP16 elements (IEEE 754 binary16) to 32-bit floats of exactly the same value. */
export function decodeFloat16(halfs: Uint16Array): Float32Array<ArrayBuffer> {
  return widen(halfs, (half) => {
    const sign = (half & 0x8000) << 16;
    const exponent = (half >> 10) & 0x1f;
    const fraction = half & 0x3ff;
    if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
    if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
    if (fraction === 0) return sign;
    // Subnormal: shift the leading one bit into the implicit position.
    const shift = Math.clz32(fraction) - 21;
    return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
  });
}

/** Converts 32-bit floats to FP16 elements. Rounds to nearest, ties to even. */
export function encodeFloat16(floats: Float32Array): Uint16Array<ArrayBuffer> {
  return narrow(floats, (bits) => {
    const sign = (bits >>> 16) & 0x8000;
    const exponent = (bits >>> 23) & 0xff;
    const fraction = bits & 0x7fffff;
    if (exponent === 0xff) return sign | 0x7c00 | shiftNanFraction(fraction, 13);
    if (exponent >= 113) {
      // A carry out of the fraction correctly increments the exponent, up to infinity.
      return sign | Math.min(shiftRounded(((exponent - 112) << 23) | fraction, 13), 0x7c00);
    }
    if (exponent < 102) return sign;
    return sign | shiftRounded(0x800000 | fraction, 126 - exponent);
  });
}

/** Converts BF16 elements (the upper half of binary32) to 32-bit floats. */
export function decodeBfloat16(bfloats: Uint16Array): Float32Array<ArrayBuffer> {
  return widen(bfloats, (bfloat) => bfloat << 16);
}

/** Converts 32-bit floats to BF16 elements. Rounds to nearest, ties to even. */
export function encodeBfloat16(floats: Float32Array): Uint16Array<ArrayBuffer> {
  return narrow(floats, (bits) => {
    const isNan = (bits & 0x7fffffff) > 0x7f800000;
    if (isNan) return ((bits >>> 16) & 0xff80) | shiftNanFraction(bits & 0x7fffff, 16);
    return shiftRounded(bits, 16);
  });
}

/** Returns the upper bits of a NaN's fraction. Never 0, because that would be an infinity. */
function shiftNanFraction(fraction: number, shift: number): number {
  const keptBits = fraction >>> shift;
  return fraction !== 0 && keptBits === 0 ? 1 : keptBits;
}

/** Shifts right and rounds to nearest, ties to even. */
function shiftRounded(bits: number, shift: number): number {
  const half = 2 ** (shift - 1);
  const keptBits = bits >>> shift;
  const rest = (bits >>> 0) % 2 ** shift;
  return rest > half || (rest === half && keptBits % 2 === 1) ? keptBits + 1 : keptBits;
}

function widen(from: Uint16Array, toBits: (short: number) => number): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(from.length);
  for (let i = 0; i < from.length; i++) bits[i] = toBits(from[i] as number);
  return new Float32Array(bits.buffer);
}

function narrow(from: Float32Array, toShort: (bits: number) => number): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(from.buffer, from.byteOffset, from.length);
  const shorts = new Uint16Array(from.length);
  for (let i = 0; i < from.length; i++) shorts[i] = toShort(bits[i] as number);
  return shorts;
}
