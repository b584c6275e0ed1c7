import { describe, expect, it } from 'vitest';
import type { Datatype } from '../../src/inference/datatype.js';
import type { Tensor, TensorValue } from '../../src/inference/inference-data.js';
import { isPlainValue, toTensor } from '../../src/inference/tensor-value.js';
import { parseJson } from '../../src/json/exact-json.js';

function convert(value: TensorValue, datatype?: Datatype): Tensor {
  return toTensor('input "a"', value, { datatype });
}

function getRefusal(value: TensorValue, datatype?: Datatype): string {
  try {
    convert(value, datatype);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
}

const toJson = (text: string): TensorValue => parseJson(text) as TensorValue;

describe('a value is converted to a tensor', () => {
  it('with integers as INT32 and other numbers as FP32', () => {
    expect(convert([1, 2])).toEqual({ datatype: 'INT32', shape: [2], data: Int32Array.of(1, 2) });
    expect(convert([1, 2.5])).toEqual({ datatype: 'FP32', shape: [2], data: Float32Array.of(1, 2.5) });
    expect(convert(toJson('[1, 2.0]'))).toEqual({ datatype: 'FP32', shape: [2], data: Float32Array.of(1, 2) });
    expect(convert([Number.NaN]).datatype).toBe('FP32');
  });

  it('with strings and byte strings as BYTES, booleans as BOOL, bigints as INT64', () => {
    expect(convert(['é'])).toEqual({ datatype: 'BYTES', shape: [1], data: [Uint8Array.of(0xc3, 0xa9)] });
    expect(convert([Uint8Array.of(0)]).datatype).toBe('BYTES');
    expect(convert([true])).toEqual({ datatype: 'BOOL', shape: [1], data: [true] });
    expect(convert([2n ** 62n])).toEqual({ datatype: 'INT64', shape: [1], data: BigInt64Array.of(2n ** 62n) });
  });

  it('with one element if it is a single value', () => {
    expect(convert(7).shape).toEqual([1]);
    expect(convert('hello').shape).toEqual([1]);
  });

  it('with the shape of its nesting', () => {
    expect(
      convert([
        [1, 2, 3],
        [4, 5, 6],
      ]),
    ).toMatchObject({ shape: [2, 3], data: Int32Array.of(1, 2, 3, 4, 5, 6) });
    expect(getRefusal([[1, 2], [3]])).toBe('input "a": nested arrays differ in length');
    expect(getRefusal([[1], 2])).toBe('input "a": nested arrays differ in length');
  });

  it('with the datatype of a typed array', () => {
    for (const [array, datatype] of [
      [Int8Array.of(1), 'INT8'],
      [Uint8Array.of(1), 'UINT8'],
      [Buffer.of(1), 'UINT8'],
      [Int16Array.of(1), 'INT16'],
      [Uint32Array.of(1), 'UINT32'],
      [BigUint64Array.of(1n), 'UINT64'],
      [Float32Array.of(1), 'FP32'],
      [Float64Array.of(1), 'FP64'],
    ] as const) {
      expect(convert(array)).toMatchObject({ datatype, shape: [1] });
      expect(isPlainValue(array)).toBe(false);
    }
    expect(isPlainValue([1])).toBe(true);
  });

  it('unchanged if it is a tensor, with plain data converted', () => {
    expect(convert({ datatype: 'FP32', shape: [1, 2], data: Float32Array.of(1, 2) }).shape).toEqual([1, 2]);
    expect(convert({ datatype: 'INT64', shape: [1], data: [1n] as never }).data).toEqual(BigInt64Array.of(1n));
    expect(getRefusal({ datatype: 'FP32', shape: [3], data: Float32Array.of(1, 2) })).toContain('needs 3 elements');
    expect(getRefusal({ datatype: 'FP33' as never, shape: [], data: [] })).toContain('unknown datatype');
  });

  it('in the declared datatype', () => {
    expect(convert([1, 2], 'FP64').data).toEqual(Float64Array.of(1, 2));
    expect(convert([1, 2], 'UINT8').data).toEqual(Uint8Array.of(1, 2));
    expect(convert(toJson('[9007199254740993]'), 'INT64').data).toEqual(BigInt64Array.of(9007199254740993n));
    expect(convert(toJson('[18446744073709551615]'), 'UINT64').data).toEqual(BigUint64Array.of(2n ** 64n - 1n));
    expect(convert(toJson('[9007199254740993.0, 1.5e1, -120e-1]'), 'INT64').data).toEqual(
      BigInt64Array.of(9007199254740993n, 15n, -12n),
    );
    expect(convert(toJson('[1e3, 2.0]'), 'INT32').data).toEqual(Int32Array.of(1000, 2));
    expect(convert(toJson('["NaN", "-Infinity"]'), 'FP32').data).toEqual(
      Float32Array.of(Number.NaN, Number.NEGATIVE_INFINITY),
    );
    expect(convert([1 / 3], 'FP16').data).toEqual(Float32Array.of(0.333251953125));
    expect(convert(toJson('[{"b64":"AP8="}]'), 'BYTES').data).toEqual([Uint8Array.of(0, 255)]);
  });

  it.each<[TensorValue, Datatype | undefined, string]>([
    [[1.5], 'INT32', '1.5 is not a valid INT32'],
    [[1, 256], 'UINT8', '256 at position 1 is not a valid UINT8'],
    [[-1], 'UINT64', '-1 is not a valid UINT64'],
    [[1, 'x'], 'FP32', '"x" at position 1 is not a valid FP32'],
    [[1e39], 'FP32', '1e+39 is not a valid FP32'],
    [[65520], 'FP16', '65520 is not a valid FP16'],
    [[1], 'BOOL', '1 is not a valid BOOL'],
    [[1], 'BYTES', '1 is not a valid BYTES'],
    [[2 ** 31], undefined, '2147483648 does not fit INT32, the default datatype of integers; specify the datatype'],
    [toJson('[9007199254740993.5]'), 'INT64', '9007199254740993.5 is not a valid INT64'],
    [toJson('[1.00000000000000000001]'), 'INT64', '1.00000000000000000001 is not a valid INT64'],
    [toJson('[1e99]'), 'INT64', '1e99 is not a valid INT64'],
    [{ datatype: 'FP32', shape: undefined, data: [] } as never, undefined, 'its shape is not an array of sizes'],
    [{ datatype: 'FP32', shape: [1], data: undefined } as never, undefined, 'its data is not an array'],
    [
      Array.from({ length: 100 }).reduce((inner) => [inner], 1) as never,
      undefined,
      'is nested deeper than 64 dimensions',
    ],
    [[], undefined, 'cannot infer a datatype without elements'],
    [[1, 'x'], undefined, 'its elements must be all numbers, all booleans or all strings'],
    [[null], undefined, 'its elements must be all numbers'],
  ])('unless it does not fit (%#)', (value, datatype, problem) => {
    expect(getRefusal(value, datatype)).toContain(`input "a": ${problem}`);
  });
});
