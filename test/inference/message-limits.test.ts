import { BinaryWriter } from '@bufbuild/protobuf/wire';
import { describe, expect, it } from 'vitest';
import { decodeRequest, decodeResponse, decodeStreamResponse } from '../../src/inference/decoder.js';
import { encodeRequest } from '../../src/inference/encoder.js';
import { toInferenceResponse, toRequestMessage } from '../../src/inference/request-response.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';

/** Encodes an empty field this many times. */
function encodeRepeated(field: number, times: number): Uint8Array {
  const writer = new BinaryWriter();
  for (let n = 0; n < times; n++) writer.uint32((field << 3) | 2).uint32(0);
  return writer.finish();
}

/** Encodes typed contents of this many integers, each as a separate piece. */
function encodeOnesApart(times: number): Uint8Array {
  return new Uint8Array(2 * times).map((_, at) => (at % 2 === 0 ? 2 << 3 : 1));
}

/** Encodes a message as a field. */
function encodeField(field: number, message: Uint8Array): Uint8Array {
  return new BinaryWriter()
    .uint32((field << 3) | 2)
    .bytes(message)
    .finish();
}

describe('the limits of a message', () => {
  it.each([
    ['inputs', encodeRepeated(5, 1025)],
    ['outputs', encodeRepeated(6, 1025)],
    ['raw contents', encodeRepeated(7, 1025)],
    ['parameters', encodeRepeated(4, 1025)],
    ['parameters', encodeField(5, encodeRepeated(4, 1025))],
    ['parameters', encodeField(6, encodeRepeated(2, 1025))],
    ['dimensions', encodeField(5, encodeField(3, new Uint8Array(1000)))],
    ['BYTES elements', encodeField(5, encodeField(5, encodeRepeated(8, 1_000_001)))],
    ['pieces of typed contents', encodeField(5, encodeField(5, encodeRepeated(6, 1_000_001)))],
    ['pieces of typed contents', encodeField(5, encodeField(5, encodeOnesApart(1_000_001)))],
  ])('refuse too many %s', (what, encoded) => {
    expect(() => decodeRequest(encoded)).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(what) }),
    );
  });

  it.each([
    ['outputs', encodeRepeated(5, 1025)],
    ['raw contents', encodeRepeated(6, 1025)],
    ['parameters', encodeRepeated(4, 1025)],
    ['parameters', encodeField(5, encodeRepeated(4, 1025))],
    ['dimensions', encodeField(5, encodeField(3, new Uint8Array(1000)))],
    ['BYTES elements', encodeField(5, encodeField(5, encodeRepeated(8, 1_000_001)))],
    ['pieces of typed contents', encodeField(5, encodeField(5, encodeOnesApart(1_000_001)))],
  ])('refuse too many %s of a response, unary or streamed', (what, encoded) => {
    const refusal = expect.objectContaining({
      message: expect.stringMatching(new RegExp(`^the response has more than .* ${what}$`)),
    });
    expect(() => decodeResponse(encoded)).toThrow(refusal);
    expect(() => decodeStreamResponse(encoded)).toThrow(refusal);
    expect(() => decodeStreamResponse(encodeField(2, encoded))).toThrow(refusal);
  });

  it('count all pieces of a split response', () => {
    const half = encodeField(2, encodeRepeated(5, 600));
    expect(decodeStreamResponse(half).inferResponse?.outputs).toHaveLength(600);
    expect(() => decodeStreamResponse(Buffer.concat([half, half]))).toThrow('the response has more than 1024 outputs');
  });

  it('count the elements of all raw BYTES of a response', () => {
    const raw = new Uint8Array(4 * 600_000);
    const encodeOutput = (name: string) => ({ name, datatype: 'BYTES', shape: [600_000n], parameters: new Map() });
    const encodeResponse = (...names: string[]) => ({
      modelName: 'm',
      modelVersion: '',
      id: '',
      parameters: new Map(),
      outputs: names.map(encodeOutput),
      rawOutputContents: names.map(() => raw),
    });
    expect(toInferenceResponse(encodeResponse('a')).outputs['a']?.data).toHaveLength(600_000);
    expect(() => toInferenceResponse(encodeResponse('a', 'b'))).toThrow(
      'the response has more than 1000000 BYTES elements',
    );
  });

  it('refuse metadata with too many fields or bytes', () => {
    const { responseDeserialize } = INFERENCE_SERVICE.modelMetadata;
    expect(responseDeserialize(Buffer.from(encodeRepeated(4, 1024))).inputs).toHaveLength(1024);
    expect(() => responseDeserialize(Buffer.from(encodeRepeated(4, 5000)))).toThrow(
      'the metadata has more than 4096 fields',
    );
    expect(() => responseDeserialize(Buffer.from(encodeRepeated(4, 1_000_000)))).toThrow(
      'the metadata has 2000000 bytes',
    );
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
