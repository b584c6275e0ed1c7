import { describe, expect, it } from 'vitest';
import { tensorToJson, tensorToTexts } from '../../src/inference/tensor-json.js';
import { serializeJson } from '../../src/json/json-value.js';

describe('a tensor as JSON', () => {
  it('is lossless', () => {
    const data = Float64Array.of(0.1, -0, Number.NaN, Number.NEGATIVE_INFINITY, 1e300);
    expect(serializeJson(tensorToJson('x', { datatype: 'FP64', shape: [5], data }))).toBe(
      '{"name":"x","datatype":"FP64","shape":[5],"data":[0.1,-0.0,"NaN","-Infinity",1e+300]}',
    );
    expect(
      serializeJson(tensorToJson('x', { datatype: 'INT64', shape: [1], data: BigInt64Array.of(2n ** 62n + 1n) })),
    ).toContain('"data":[4611686018427387905]');
    expect(
      serializeJson(
        tensorToJson('x', { datatype: 'BYTES', shape: [2], data: [Uint8Array.of(0xc3, 0xa9), Uint8Array.of(0xff)] }),
      ),
    ).toContain('"data":["é",{"b64":"/w=="}]');
    expect(serializeJson(tensorToJson('x', { datatype: 'BOOL', shape: [2], data: [true, false] }))).toContain(
      '"data":[true,false]',
    );
  });

  it('has bytes as strings if they are UTF-8', () => {
    expect(tensorToTexts({ datatype: 'BYTES', shape: [2], data: [Uint8Array.of(65), Uint8Array.of(0xff)] })).toEqual([
      'A',
      '\ufffd',
    ]);
  });
});
