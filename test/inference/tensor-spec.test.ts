import { describe, expect, it } from 'vitest';
import { checkAgainstSpec, parseTensorSpec } from '../../src/inference/tensor-spec.js';

describe('a tensor spec', () => {
  it.each([
    ['FP32', { datatype: 'FP32', shape: undefined }],
    ['FP32[2,3]', { datatype: 'FP32', shape: [2, 3] }],
    ['INT64[-1, 3]', { datatype: 'INT64', shape: [-1, 3] }],
    ['BYTES[]', { datatype: 'BYTES', shape: [] }],
  ])('is parsed from %s', (text, spec) => {
    expect(parseTensorSpec('input "a"', text)).toEqual(spec);
  });

  it.each(['', 'fp32', 'FP32[', 'FP32[a]', 'FP32[1.5]', 'FP32[-2]', 'FP32[1,]', 'X[1]', 'toString'])(
    'is not %j',
    (text) => {
      expect(() => parseTensorSpec('input "a"', text)).toThrow(/^input "a": /);
    },
  );

  it('refuses a tensor that differs from its declaration, and shows both', () => {
    const spec = { name: 'a', datatype: 'FP32', shape: [-1, 3] } as const;
    checkAgainstSpec('input "a"', spec, { datatype: 'FP32', shape: [7, 3], data: new Float32Array(21) });
    for (const shape of [[7], [7, 4], [3, 3, 1]]) {
      expect(() => checkAgainstSpec('input "a"', spec, { datatype: 'FP32', shape, data: new Float32Array(0) })).toThrow(
        `input "a": the model declares FP32[-1,3], got FP32[${shape.join(',')}]`,
      );
    }
    expect(() =>
      checkAgainstSpec('input "a"', spec, { datatype: 'FP64', shape: [1, 3], data: new Float64Array(3) }),
    ).toThrow('the model declares FP32[-1,3], got FP64[1,3]');
  });
});
