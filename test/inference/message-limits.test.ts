import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import { decodeRequest, decodeResponse, decodeStreamResponse } from '../../src/inference/decoder.js';
import { encodeRequest } from '../../src/inference/encoder.js';
import { toInferenceResponse, toRequestMessage } from '../../src/inference/request-response.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';

/** Encodes an empty field this many times. */
function repeated(field: number, times: number): Uint8Array {
  const writer = new BinaryWriter();
  for (let n = 0; n < times; n++) writer.uint32((field << 3) | 2).uint32(0);
  return writer.finish();
}

/** Encodes typed contents of this many integers, each as a separate piece. */
function onesApart(times: number): Uint8Array {
  return new Uint8Array(2 * times).map((_, at) => (at % 2 === 0 ? 2 << 3 : 1));
}

/** Encodes a message as a field. */
function within(field: number, message: Uint8Array): Uint8Array {
  return new BinaryWriter()
    .uint32((field << 3) | 2)
    .bytes(message)
    .finish();
}

describe('the limits of a message', () => {
  it.each([
    ['inputs', repeated(5, 1025)],
    ['outputs', repeated(6, 1025)],
    ['raw contents', repeated(7, 1025)],
    ['parameters', repeated(4, 1025)],
    ['parameters', within(5, repeated(4, 1025))],
    ['parameters', within(6, repeated(2, 1025))],
    ['dimensions', within(5, within(3, new Uint8Array(1000)))],
    ['BYTES elements', within(5, within(5, repeated(8, 1_000_001)))],
    ['pieces of typed contents', within(5, within(5, repeated(6, 1_000_001)))],
    ['pieces of typed contents', within(5, within(5, onesApart(1_000_001)))],
  ])('refuse too many %s', (what, encoded) => {
    expect(() => decodeRequest(encoded)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(what) }),
    );
  });

  it.each([
    ['outputs', repeated(5, 1025)],
    ['raw contents', repeated(6, 1025)],
    ['parameters', repeated(4, 1025)],
    ['parameters', within(5, repeated(4, 1025))],
    ['dimensions', within(5, within(3, new Uint8Array(1000)))],
    ['BYTES elements', within(5, within(5, repeated(8, 1_000_001)))],
    ['pieces of typed contents', within(5, within(5, onesApart(1_000_001)))],
  ])('refuse too many %s of a response, unary or streamed', (what, encoded) => {
    const refusal = expect.objectContaining({
      message: expect.stringMatching(new RegExp(`^the response has more than .* ${what}$`)),
    });
    expect(() => decodeResponse(encoded)).toThrow(refusal);
    expect(() => decodeStreamResponse(encoded)).toThrow(refusal);
    expect(() => decodeStreamResponse(within(2, encoded))).toThrow(refusal);
  });

  it('count all pieces of a split response', () => {
    const half = within(2, repeated(5, 600));
    expect(decodeStreamResponse(half).inferResponse?.outputs).toHaveLength(600);
    expect(() => decodeStreamResponse(Buffer.concat([half, half]))).toThrow('the response has more than 1024 outputs');
  });

  it('count the elements of all raw BYTES of a response', () => {
    const raw = new Uint8Array(4 * 600_000);
    const output = (name: string) => ({ name, datatype: 'BYTES', shape: [600_000n], parameters: new Map() });
    const answer = (...names: string[]) => ({
      modelName: 'm',
      modelVersion: '',
      id: '',
      parameters: new Map(),
      outputs: names.map(output),
      rawOutputContents: names.map(() => raw),
    });
    expect(toInferenceResponse(answer('a')).outputs['a']?.data).toHaveLength(600_000);
    expect(() => toInferenceResponse(answer('a', 'b'))).toThrow('the response has more than 1000000 BYTES elements');
  });

  it('refuse metadata with too many fields or bytes', () => {
    const { responseDeserialize } = INFERENCE_SERVICE.modelMetadata;
    expect(responseDeserialize(Buffer.from(repeated(4, 1024))).inputs).toHaveLength(1024);
    expect(() => responseDeserialize(Buffer.from(repeated(4, 5000)))).toThrow('the metadata has more than 4096 fields');
    expect(() => responseDeserialize(Buffer.from(repeated(4, 1_000_000)))).toThrow('the metadata has 2000000 bytes');
  });

  it('accept messages of real models', () => {
    const data = new Float32Array(100_000);
    const request = toRequestMessage({
      model: 'm',
      version: '1',
      id: 'q',
      inputs: {
        a: { datatype: 'FP32', shape: [10, 10, 1000], data },
        b: { datatype: 'BYTES', shape: [2], data: [new Uint8Array(9), new Uint8Array(0)] },
      },
      parameters: { t: 0.5 },
      outputs: ['x'],
      raw: false,
    });
    decodeRequest(encodeRequest(request));
  });

  it('do not apply to malformed bytes', () => {
    expect(() => decodeRequest(Uint8Array.of(0xff, 0xff, 0xff))).toThrow();
  });
});
