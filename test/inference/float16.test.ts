import { describe, expect, it } from 'vitest';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from '../../src/inference/float16.js';

const EVERY_PATTERN = Uint16Array.from({ length: 65536 }, (_, bits) => bits);

function toHalf(value: number): number {
  return encodeFloat16(Float32Array.of(value))[0] as number;
}

function toBfloat(value: number): number {
  return encodeBfloat16(Float32Array.of(value))[0] as number;
}

describe('16-bit floats', () => {
  it('survive a round trip for every bit pattern of FP16', () => {
    expect(encodeFloat16(decodeFloat16(EVERY_PATTERN))).toEqual(EVERY_PATTERN);
  });

  it('survive a round trip for every bit pattern of BF16', () => {
    expect(encodeBfloat16(decodeBfloat16(EVERY_PATTERN))).toEqual(EVERY_PATTERN);
  });

  it.each([
    [0x3c00, 1],
    [0xc000, -2],
    [0x7bff, 65504],
    [0x0400, 2 ** -14],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0x3555, 0.333251953125],
  ])('FP16 %i is %d', (bits, value) => {
    expect(decodeFloat16(Uint16Array.of(bits))[0]).toBe(value);
    expect(toHalf(value)).toBe(bits);
  });

  it('round to nearest, ties to even, in FP16', () => {
    expect(toHalf(1 + 2 ** -11)).toBe(0x3c00);
    expect(toHalf(1 + 3 * 2 ** -11)).toBe(0x3c02);
    expect(toHalf(1 + 2 ** -11 + 2 ** -20)).toBe(0x3c01);
    expect(toHalf(2 ** -25)).toBe(0x0000);
    expect(toHalf(2 ** -25 * 1.01)).toBe(0x0001);
    expect(toHalf(65519)).toBe(0x7bff);
    expect(toHalf(65520)).toBe(0x7c00);
    expect(toHalf(-65520)).toBe(0xfc00);
    expect(toHalf(-0)).toBe(0x8000);
  });

  it('round to nearest, ties to even, in BF16', () => {
    expect(toBfloat(1 + 2 ** -8)).toBe(0x3f80);
    expect(toBfloat(1 + 3 * 2 ** -8)).toBe(0x3f82);
    expect(toBfloat(1 + 2 ** -8 + 2 ** -20)).toBe(0x3f81);
    expect(toBfloat(3.4028234663852886e38)).toBe(0x7f80);
  });

  it('keep a NaN even if its payload does not fit', () => {
    const signalling = new Float32Array(Uint32Array.of(0x7f800001).buffer);
    expect(encodeFloat16(signalling)[0]).toBe(0x7c01);
    expect(encodeBfloat16(signalling)[0]).toBe(0x7f81);
  });
});
