import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { coerceToSpec } from '../../src/inference/coerce-to-spec.js';
import type { ElementValue, NestedValues } from '../../src/inference/inference-data.js';
import { checkAgainstSpec, parseTensorSpec, type TensorSpec } from '../../src/inference/tensor-spec.js';
import { parseJson } from '../../src/json/exact-json.js';

type Plain = ElementValue | NestedValues;

function parseSpec(text: string): TensorSpec {
  const { datatype, shape = [] } = parseTensorSpec('input "a"', text);
  return { name: 'a', datatype, shape };
}

const coerce = (declared: string, value: Plain) => coerceToSpec('input "a"', value, parseSpec(declared));

function getRefusal(declared: string, value: Plain): string {
  try {
    coerce(declared, value);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
}

const toJson = (text: string): Plain => parseJson(text) as Plain;

describe('a plain value becomes the declared tensor', () => {
  it.each<[string, Plain, number[]]>([
    ['FP32[-1]', [1, 2, 3], [3]],
    ['FP32[-1]', 7, [1]],
    ['FP32[-1]', [], [0]],
    ['FP32[1]', 7, [1]],
    ['FP32[]', 7, []],
    ['FP32[]', [7], []],
    ['FP32[3]', [1, 2, 3], [3]],
    ['FP32[-1,3]', [1, 2, 3], [1, 3]],
    ['FP32[-1,3]', [[1, 2, 3]], [1, 3]],
    ['FP32[-1,3]', [1, 2, 3, 4, 5, 6], [2, 3]],
    ['FP32[-1,3]', [], [0, 3]],
    ['FP32[1,-1]', [1, 2], [1, 2]],
    ['FP32[-1,-1]', [1, 2], [1, 2]],
    ['FP32[-1,-1,-1]', [[1], [2]], [1, 2, 1]],
    ['FP32[-1,1]', 7, [1, 1]],
    ['FP32[-1,1]', [1, 2], [2, 1]],
    ['FP32[2,2]', [1, 2, 3, 4], [2, 2]],
    [
      'FP32[-1,2,2]',
      [
        [1, 2],
        [3, 4],
      ],
      [1, 2, 2],
    ],
    ['FP32[2,-1,2]', [1, 2, 3, 4], [2, 1, 2]],
    ['FP32[1,1,1]', [7], [1, 1, 1]],
  ])('%s from %j', (declared, value, shape) => {
    const tensor = coerce(declared, value);
    expect(tensor.shape).toEqual(shape);
    expect(tensor.data).toEqual(Float32Array.from([value].flat(9) as number[]));
  });

  it('for any datatype', () => {
    expect(coerce('BYTES[-1,1]', 'text')).toEqual({
      datatype: 'BYTES',
      shape: [1, 1],
      data: [new TextEncoder().encode('text')],
    });
    expect(coerce('BYTES[1]', [Uint8Array.of(255)])).toEqual({
      datatype: 'BYTES',
      shape: [1],
      data: [Uint8Array.of(255)],
    });
    expect(coerce('BOOL[-1]', true)).toEqual({ datatype: 'BOOL', shape: [1], data: [true] });
    expect(coerce('INT64[-1,1]', toJson('9007199254740993'))).toEqual({
      datatype: 'INT64',
      shape: [1, 1],
      data: BigInt64Array.of(9007199254740993n),
    });
  });

  it.each<[string, Plain, string]>([
    ['FP32[-1,3]', [1, 2, 3, 4], ': the model declares FP32[-1,3], got a list of 4'],
    ['FP32[-1,3]', 7, ': the model declares FP32[-1,3], got a single value'],
    ['FP32[2]', [], ': the model declares FP32[2], got a list of 0'],
    ['FP32[]', [1, 2], ': the model declares FP32[], got a list of 2'],
    ['FP32[3]', [[1, 2, 3]], ': the model declares FP32[3], got nested lists of shape [1,3]'],
    ['FP32[2,3]', [1, 2, 3], ': the model declares FP32[2,3], got a list of 3'],
    [
      'FP32[-1,2]',
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
      ': the model declares FP32[-1,2], got nested lists of shape [2,3]',
    ],
    // A nested value determines its shape, so it is not reshaped.
    ['FP32[4]', [[1, 2, 3, 4]], ': the model declares FP32[4], got nested lists of shape [1,4]'],
    ['FP32[-1,3,-1]', [1, 2, 3, 4, 5, 6], ': the model declares FP32[-1,3,-1], got a list of 6'],
    ['UINT8[-1]', [1, 256], ' (the model declares UINT8[-1]): 256 at position 1 is not a valid UINT8'],
    ['FP32[-1]', 'x', ' (the model declares FP32[-1]): "x" is not a valid FP32'],
    ['INT32[-1]', [1, 1.5], ' (the model declares INT32[-1]): 1.5 at position 1 is not a valid INT32'],
    ['FP32[-1,2]', [[1, 2], [3]], ' (the model declares FP32[-1,2]): nested arrays differ in length'],
  ])('%s but not from %j', (declared, value, problem) => {
    expect(getRefusal(declared, value)).toBe(`input "a"${problem}`);
  });
});

const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 4 });
const toTensor = (shape: readonly number[]) =>
  fc.tuple(...shape.map((size) => fc.constantFrom(size, -1))) as fc.Arbitrary<number[]>;

/** The numbers from 0, nested to a shape. */
function nestNumbers(shape: readonly number[]): Plain {
  let next = 0;
  const nest = (axis: number): Plain =>
    axis === shape.length ? next++ : Array.from({ length: shape[axis] as number }, () => nest(axis + 1));
  return nest(0);
}

const takeNext = (shape: readonly number[]): number => shape.reduce((product, size) => product * size, 1);
const countTo = (length: number): Int32Array => Int32Array.from({ length }, (_, n) => n);

describe('for any shape', () => {
  it('nested values that match keep their shape', () => {
    fc.assert(
      fc.property(
        sizes.chain((shape) => fc.tuple(fc.constant(shape), toTensor(shape))),
        ([shape, declared]) => {
          const tensor = coerceToSpec('input "a"', nestNumbers(shape), {
            name: 'a',
            datatype: 'INT32',
            shape: declared,
          });
          expect(tensor).toEqual({ datatype: 'INT32', shape, data: countTo(takeNext(shape)) });
        },
      ),
    );
  });

  it('leading dimensions can be omitted if they can be 1', () => {
    const batches = fc.array(fc.constantFrom(1, -1), { maxLength: 3 });
    fc.assert(
      fc.property(batches, sizes, (batch, shape) => {
        const declared: TensorSpec = { name: 'a', datatype: 'INT32', shape: [...batch, ...shape] };
        const tensor = coerceToSpec('input "a"', nestNumbers(shape), declared);
        expect(tensor).toEqual({
          datatype: 'INT32',
          shape: [...batch.map(() => 1), ...shape],
          data: countTo(takeNext(shape)),
        });
      }),
    );
  });

  it('flat values fill it in row-major order', () => {
    fc.assert(
      fc.property(
        sizes.chain((shape) => fc.tuple(fc.constant(shape), fc.nat({ max: shape.length }))),
        ([shape, open]) => {
          const declared = shape.map((size, axis) => (axis === open ? -1 : size));
          const flat = Array.from(countTo(takeNext(shape)));
          const tensor = coerceToSpec('input "a"', flat, { name: 'a', datatype: 'INT32', shape: declared });
          expect(tensor).toEqual({ datatype: 'INT32', shape, data: countTo(takeNext(shape)) });
        },
      ),
    );
  });

  it('a value becomes the declared tensor, or is refused with both shapes', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 4 }), sizes, (declared, given) => {
        const wanted: TensorSpec = { name: 'a', datatype: 'INT32', shape: declared };
        try {
          const tensor = coerceToSpec('input "a"', nestNumbers(given), wanted);
          checkAgainstSpec('input "a"', wanted, tensor);
          expect(tensor.data).toEqual(countTo(takeNext(given)));
        } catch (error) {
          expect((error as Error).message).toContain(`the model declares INT32[${declared}], got `);
        }
      }),
    );
  });
});
