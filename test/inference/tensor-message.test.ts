import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DATATYPES, type Datatype } from '../../src/inference/datatype.js';
import type { Tensor } from '../../src/inference/inference-data.js';
import type { TensorMessage } from '../../src/inference/protocol-messages.js';
import { type InferenceRequest, toInferenceRequest, toRequestMessage } from '../../src/inference/request-response.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { parseTensorMessage, toRawContents } from '../../src/inference/tensor-message.js';

const toBytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** The extreme values of every datatype. */
const EXTREMES: Readonly<Record<Datatype, Tensor['data']>> = {
  BOOL: [true, false, true],
  UINT8: Uint8Array.of(0, 255, 1),
  UINT16: Uint16Array.of(0, 65535, 1),
  UINT32: Uint32Array.of(0, 0xffffffff, 1),
  UINT64: BigUint64Array.of(0n, 0xffffffffffffffffn, 9007199254740993n),
  INT8: Int8Array.of(-128, 127, -1),
  INT16: Int16Array.of(-32768, 32767, -1),
  INT32: Int32Array.of(-0x80000000, 0x7fffffff, -1),
  INT64: BigInt64Array.of(-0x8000000000000000n, 0x7fffffffffffffffn, 9007199254740993n),
  FP16: Float32Array.of(65504, -0, 2 ** -24),
  BF16: Float32Array.of(1.5, -0, 2 ** -133),
  FP32: Float32Array.of(3.4028234663852886e38, -0, 1.401298464324817e-45),
  FP64: Float64Array.of(Number.MAX_VALUE, -0, Number.MIN_VALUE),
  BYTES: [toBytes(), toBytes(0, 255, 10), new TextEncoder().encode('Grüße')],
};

/** Encodes and decodes a tensor. */
function sendThroughCodec(inputs: Record<string, Tensor>, raw: boolean): InferenceRequest {
  const request: InferenceRequest = { model: 'm', version: '', id: '', inputs, parameters: {}, outputs: [], raw };
  const { requestSerialize, requestDeserialize } = INFERENCE_SERVICE.modelInfer;
  return toInferenceRequest(requestDeserialize(requestSerialize(toRequestMessage(request))));
}

function toPlain(data: Tensor['data']): unknown[] {
  return Array.from(data as ArrayLike<unknown>, (element) => (element instanceof Uint8Array ? [...element] : element));
}

function getRefusal(message: Partial<TensorMessage>, raw?: Uint8Array): string {
  try {
    parseTensorMessage('input "a"', { name: 'a', datatype: 'INT32', shape: [], ...message }, raw);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
}

const NO_CONTENTS = {
  boolContents: [],
  intContents: [],
  int64Contents: [],
  uintContents: [],
  uint64Contents: [],
  fp32Contents: [],
  fp64Contents: [],
  bytesContents: [],
};

describe('tensors', () => {
  for (const datatype of Object.keys(DATATYPES) as Datatype[]) {
    for (const raw of [false, true]) {
      it(`carry ${datatype} ${raw ? 'raw' : 'typed'}, to the last bit`, () => {
        const tensor: Tensor = { datatype, shape: [1, 3], data: EXTREMES[datatype] };
        const received = sendThroughCodec({ a: tensor }, raw);
        expect(received.raw).toBe(raw || datatype === 'FP16' || datatype === 'BF16');
        expect(received.inputs['a']?.shape).toEqual([1, 3]);
        expect(toPlain(received.inputs['a']?.data ?? [])).toEqual(toPlain(tensor.data));
        expect(toRawContents(received.inputs['a'] as Tensor)).toEqual(toRawContents(tensor));
      });

      it(`carry an empty ${datatype} ${raw ? 'raw' : 'typed'}`, () => {
        const tensor: Tensor = { datatype, shape: [0, 3], data: createTensor(datatype, 0) };
        const received = sendThroughCodec({ a: tensor }, raw).inputs['a'];
        expect(received?.shape).toEqual([0, 3]);
        expect(received?.data).toHaveLength(0);
      });
    }
  }

  function createTensor(datatype: Datatype, length: number): Tensor['data'] {
    const { array } = DATATYPES[datatype];
    return array ? new array(length) : [];
  }

  it('carry raw NaNs with their payload', () => {
    const raw = toBytes(1, 0, 0x80, 0x7f, 0x34, 0x12, 0xc0, 0xff);
    const tensor = parseTensorMessage('input "a"', { name: 'a', datatype: 'FP32', shape: [2n] }, raw);
    expect(toRawContents(tensor)).toEqual(raw);
  });

  it('lay raw BYTES out with a length of 4 bytes before each element', () => {
    expect(toRawContents({ datatype: 'BYTES', shape: [2], data: [toBytes(65), toBytes()] })).toEqual(
      toBytes(1, 0, 0, 0, 65, 0, 0, 0, 0),
    );
  });

  it('accept names like __proto__', () => {
    const tensor: Tensor = { datatype: 'INT32', shape: [1], data: Int32Array.of(1) };
    const inputs = Object.create(null);
    // biome-ignore lint/suspicious/noProto: on an object without prototype it is an ordinary key
    inputs['__proto__'] = tensor;
    inputs['constructor'] = tensor;
    expect(Object.keys(sendThroughCodec(inputs, false).inputs)).toEqual(['__proto__', 'constructor']);
  });

  it.each<[string, Partial<TensorMessage>, Uint8Array | undefined, string]>([
    ['an unknown datatype', { datatype: 'FLOAT' }, undefined, 'unknown datatype "FLOAT"'],
    ['no datatype', { datatype: '' }, undefined, 'unknown datatype ""'],
    [
      'too few elements',
      { shape: [2n], contents: { ...NO_CONTENTS, intContents: [1] } },
      undefined,
      'shape [2] needs 2 elements, but the data has 1',
    ],
    [
      'too many elements',
      { shape: [], contents: { ...NO_CONTENTS, intContents: [1, 2] } },
      undefined,
      'shape [] needs 1 elements, but the data has 2',
    ],
    ['no contents', { shape: [1n] }, undefined, 'the data has 0'],
    ['a negative dimension', { shape: [-1n] }, undefined, 'invalid shape [-1]'],
    [
      'two negative dimensions',
      { shape: [-1n, -1n], contents: { ...NO_CONTENTS, intContents: [1] } },
      undefined,
      'invalid shape [-1,-1]',
    ],
    ['dimensions that overflow', { shape: [2n ** 40n, 2n ** 40n] }, undefined, 'invalid shape'],
    [
      'the wrong field',
      { shape: [1n], contents: { ...NO_CONTENTS, fp32Contents: [1] } },
      undefined,
      'INT32 belongs in int_contents, not in fp32_contents',
    ],
    [
      'two fields',
      { shape: [1n], contents: { ...NO_CONTENTS, intContents: [1], fp32Contents: [1] } },
      undefined,
      'not in fp32_contents',
    ],
    [
      'typed and raw',
      { shape: [1n], contents: { ...NO_CONTENTS, intContents: [1] } },
      toBytes(1, 0, 0, 0),
      'both typed and raw',
    ],
    [
      'a value that does not fit',
      { datatype: 'UINT8', shape: [2n], contents: { ...NO_CONTENTS, uintContents: [1, 256] } },
      undefined,
      '256 at position 1 does not fit UINT8',
    ],
    [
      'typed FP16',
      { datatype: 'FP16', shape: [1n], contents: { ...NO_CONTENTS, fp32Contents: [1] } },
      undefined,
      'the protocol has no typed contents for FP16',
    ],
    ['raw bytes cut off', { shape: [1n] }, toBytes(1, 2, 3), '3 raw bytes are not a multiple of the 4 bytes of INT32'],
    [
      'a raw BYTES element cut off',
      { datatype: 'BYTES', shape: [1n] },
      toBytes(9, 0, 0, 0, 1),
      'raw BYTES element 0 is longer than the data',
    ],
    [
      'a raw BYTES length cut off',
      { datatype: 'BYTES', shape: [1n] },
      toBytes(0, 0, 0, 0, 1),
      'raw BYTES element 1 is longer',
    ],
    ['a raw BOOL of 2', { datatype: 'BOOL', shape: [1n] }, toBytes(2), 'raw byte 2 at position 0 is not a BOOL'],
  ])('refuse %s, with the name of the tensor', (_what, message, raw, problem) => {
    expect(getRefusal(message, raw)).toContain(`input "a": `);
    expect(getRefusal(message, raw)).toContain(problem);
  });

  it('refuse duplicate names, and a wrong number of raw contents', () => {
    const tensor: Tensor = { datatype: 'INT32', shape: [1], data: Int32Array.of(1) };
    const message = toRequestMessage({
      model: 'm',
      version: '',
      id: '',
      inputs: { a: tensor, b: tensor },
      parameters: {},
      outputs: [],
      raw: true,
    });
    message.rawInputContents.pop();
    expect(() => toInferenceRequest(message)).toThrow('1 raw contents for 2 inputs');
    const typed = toRequestMessage({
      model: 'm',
      version: '',
      id: '',
      inputs: { a: tensor, b: tensor },
      parameters: {},
      outputs: [],
      raw: false,
    });
    for (const input of typed.inputs) input.name = 'a';
    expect(() => toInferenceRequest(typed)).toThrow('input "a" is given twice');
  });

  it('decode to a tensor or to invalid_argument for arbitrary bytes', () => {
    const datatypes = fc.constantFrom(...Object.keys(DATATYPES), 'NOPE');
    fc.assert(
      fc.property(
        datatypes,
        fc.array(fc.bigInt(-2n, 5n), { maxLength: 3 }),
        fc.uint8Array({ maxLength: 40 }),
        (datatype, shape, raw) => {
          try {
            const tensor = parseTensorMessage('input "a"', { name: 'a', datatype, shape }, raw);
            expect(toRawContents(tensor)).toEqual(raw);
          } catch (error) {
            expect(error).toMatchObject({ code: 'invalid_argument', message: expect.stringMatching(/^input "a": /) });
          }
        },
      ),
    );
  });
});
