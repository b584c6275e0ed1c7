import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRequest, decodeResponse, decodeStreamResponse } from '../../src/inference/decoder.js';
import { encodeRequest, encodeResponse, encodeStreamResponse } from '../../src/inference/encoder.js';
import {
  InferTensorContents,
  ModelInferRequest_InferInputTensor as InputTensor,
  ModelInferRequest,
  ModelInferResponse,
  ModelStreamInferResponse,
} from '../../src/inference/gen/open_inference.js';
import type { TensorMessage } from '../../src/inference/protocol-messages.js';
import { contents, reencode, request, response, streamMessage } from '../support/inference-messages.js';
import { collectGarbage } from '../support/retained-memory.js';

const RUNS = { numRuns: Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 300) };

/** Converts a decoded message to the form of the generated code: plain arrays, and every field of contents is present. */
function toPlain(message: unknown): unknown {
  if (message instanceof Uint8Array) return [...message];
  if (ArrayBuffer.isView(message)) return Array.from(message as never);
  if (Array.isArray(message)) return message.map(toPlain);
  if (message instanceof Map) return new Map([...message].map(([key, value]) => [key, toPlain(value)]));
  if (typeof message !== 'object' || message === null) return message;
  const fields = Object.fromEntries(Object.entries(message).map(([key, value]) => [key, toPlain(value)]));
  if ('datatype' in fields && fields['contents']) {
    fields['contents'] = { ...InferTensorContents.decode(new Uint8Array(0)), ...(fields['contents'] as object) };
  }
  return fields;
}

/** The generated code for messages of a response stream, including the bare responses that MLServer sends. */
const generatedPart = {
  encode: ModelStreamInferResponse.encode,
  decode: (bytes: Uint8Array) =>
    hasAnswerField(bytes)
      ? { errorMessage: '', inferResponse: ModelInferResponse.decode(bytes) }
      : ModelStreamInferResponse.decode(bytes),
};

/** Whether there is a field that only ModelInferResponse has: 3 to 6. */
function hasAnswerField(bytes: Uint8Array): boolean {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === 0 || (tag & 7) === 4) return false;
    if (tag >>> 3 >= 3 && tag >>> 3 <= 6 && (tag & 7) === 2) return true;
    reader.skip(tag & 7);
  }
  return false;
}

/** The three messages, each with our codec and with the generated code. */
const MESSAGES = [
  ['a request', request, encodeRequest, decodeRequest, ModelInferRequest],
  ['a response', response, encodeResponse, decodeResponse, ModelInferResponse],
  ['a message of a response stream', streamMessage, encodeStreamResponse, decodeStreamResponse, generatedPart],
] as const;

type AnyCodec = [
  what: string,
  message: fc.Arbitrary<unknown>,
  encode: (message: unknown) => Buffer,
  decode: (bytes: Uint8Array) => unknown,
  generated: { encode(message: unknown): { finish(): Uint8Array }; decode(bytes: Uint8Array): unknown },
];

describe.each(MESSAGES as unknown as AnyCodec[])('the codec of %s', (_what, message, encode, decode, generated) => {
  it('writes the same bytes as the generated code', () => {
    fc.assert(
      fc.property(message, (given) => {
        expect(encode(given)).toEqual(Buffer.from(generated.encode(given).finish()));
      }),
      RUNS,
    );
  });

  it('reads the same message as the generated code', () => {
    fc.assert(
      fc.property(message, (given) => {
        const bytes = generated.encode(given).finish();
        expect(toPlain(decode(bytes))).toEqual(toPlain(generated.decode(bytes)));
      }),
      RUNS,
    );
  });

  it('reads fields in any order, and overlong varints, as the generated code does', () => {
    fc.assert(
      fc.property(message, fc.integer({ min: 1, max: 10 }), (given, numberBytes) => {
        const bytes = reencode(generated.encode(given).finish(), numberBytes);
        expect(toPlain(decode(bytes))).toEqual(toPlain(generated.decode(bytes)));
      }),
      RUNS,
    );
  });

  it('refuses bytes that are cut off within a field, and reads bytes that are cut off between fields', () => {
    fc.assert(
      fc.property(message, (given) => {
        const bytes = generated.encode(given).finish().subarray(0, 400);
        for (let length = 0; length <= bytes.length; length++) expectAgreement(bytes.slice(0, length));
      }),
      { numRuns: 30 },
    );
  });

  it('reads arbitrary bytes as the generated code does, or refuses them', () => {
    const changed = fc
      .tuple(message, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 4 }))
      .map(([given, at, piece]) => {
        const bytes = Buffer.from(generated.encode(given).finish());
        const start = at % (bytes.length + 1);
        return Buffer.concat([bytes.subarray(0, start), piece, bytes.subarray(start + piece.length)]);
      });
    fc.assert(fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 60 })), expectAgreement), RUNS);
  });

  it('skips unknown fields', () => {
    const unknown = new BinaryWriter()
      .uint32((99 << 3) | 0)
      .int64(-1n)
      .uint32((99 << 3) | 1)
      .double(1)
      .uint32((99 << 3) | 2)
      .bytes(new Uint8Array(9))
      .uint32((99 << 3) | 3)
      .uint32((1 << 3) | 0)
      .uint32(5)
      .uint32((99 << 3) | 4)
      .uint32((99 << 3) | 5)
      .float(1)
      .finish();
    fc.assert(
      fc.property(message, (given) => {
        const bytes = generated.encode(given).finish();
        expect(toPlain(decode(Buffer.concat([unknown, bytes, unknown])))).toEqual(toPlain(decode(bytes)));
      }),
      { numRuns: 30 },
    );
  });

  it('keeps the last value of a repeated singular field, and all values of a repeated field', () => {
    fc.assert(
      fc.property(message, message, (first, second) => {
        const [one, other] = [generated.encode(first).finish(), generated.encode(second).finish()];
        const both = decode(Buffer.concat([one, other]));
        expect(toPlain(both)).toEqual(toPlain(mergeMessages(decode(one), decode(other))));
      }),
      RUNS,
    );
  });

  /** Checks that both codecs read the same message. The generated code accepts more; {@link STRICTER} lists these cases. */
  function expectAgreement(bytes: Uint8Array): void {
    const expected = tryRead(() => generated.decode(bytes));
    const read = tryRead(() => decode(bytes));
    if (read.error && !expected.error) expect(read.error.message).toMatch(STRICTER);
    else if (read.error) expect(read.error).not.toBeInstanceOf(TypeError);
    else expect(read).toEqual(expected);
  }
});

/** Errors for malformed messages that the generated code accepts: an overlong field, field 0, and an unmatched end of a group. */
const STRICTER = new RegExp(
  `^(?:${[
    'a field is longer than its enclosing message',
    'a parameter does not match its length prefix',
    'premature EOF',
    '\\w+ ends within an element',
    'field number 0 is invalid',
    'cant skip wire type 4',
    'invalid end group tag',
  ].join('|')})$`,
);

function tryRead(decode: () => unknown): { message?: unknown; error?: Error } {
  try {
    return { message: toPlain(decode()) };
  } catch (error) {
    return { error: error as Error };
  }
}

/** Merges two messages as protobuf does. */
function mergeMessages(first: unknown, second: unknown): unknown {
  if (Array.isArray(first)) return [...first, ...(second as unknown[])];
  if (first instanceof Map) return new Map([...first, ...(second as Map<unknown, unknown>)]);
  if (typeof first === 'object' && first !== null && typeof second === 'object' && second !== null) {
    return Object.fromEntries(
      Object.entries(first).map(([key, value]) => [
        key,
        mergeMessages(value, (second as Record<string, unknown>)[key]),
      ]),
    );
  }
  return second === '' || second === undefined ? first : second;
}

/** A tensor whose contents are split into these messages. */
function createTensor(...parts: Uint8Array[]): TensorMessage | undefined {
  const writer = new BinaryWriter().uint32(42).fork();
  for (const bytes of parts) writer.uint32(42).bytes(bytes);
  return decodeRequest(writer.join().finish()).inputs[0];
}

describe('typed contents', () => {
  /** Write the elements of each field one by one, as encoders without packing do. */
  const ONE_BY_ONE: Readonly<Record<string, (writer: BinaryWriter, element: never) => unknown>> = {
    boolContents: (writer, element) => writer.uint32(8).bool(element),
    intContents: (writer, element) => writer.uint32(16).int32(element),
    int64Contents: (writer, element) => writer.uint32(24).int64(element),
    uintContents: (writer, element) => writer.uint32(32).uint32(element),
    uint64Contents: (writer, element) => writer.uint32(40).uint64(element),
    fp32Contents: (writer, element) => writer.uint32(53).float(element),
    fp64Contents: (writer, element) => writer.uint32(57).double(element),
    bytesContents: (writer, element) => writer.uint32(66).bytes(element),
  };

  it('are the same if packed, one by one, or in pieces of both', () => {
    const pieces = fc.array(fc.tuple(contents, fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(pieces, (given) => {
        const whole = InferTensorContents.decode(new Uint8Array(0));
        const messages: Uint8Array[] = [];
        for (const [piece, isPacked, isNew] of given) {
          const writer = new BinaryWriter();
          if (isPacked) InferTensorContents.encode(piece, writer);
          for (const [field, elements] of Object.entries(piece)) {
            whole[field as keyof typeof whole].push(...(elements as never[]));
            if (!isPacked) for (const element of elements) ONE_BY_ONE[field]?.(writer, element as never);
          }
          const bytes = writer.finish();
          if (isNew || messages.length === 0) messages.push(bytes);
          else messages.push(Buffer.concat([messages.pop() as Uint8Array, bytes]));
        }
        const expected = InferTensorContents.decode(InferTensorContents.encode(whole).finish());
        expect(toPlain(createTensor(...messages))).toMatchObject({ contents: toPlain(expected) as object });
      }),
      RUNS,
    );
  });

  it('are copies, so that the message can be overwritten', () => {
    const whole = {
      ...InferTensorContents.decode(new Uint8Array(0)),
      fp32Contents: [1, 2],
      bytesContents: [Buffer.from('a')],
    };
    const inputs = [{ name: '', datatype: '', shape: [], parameters: new Map(), contents: whole }];
    for (const offset of [0, 1, 2, 3]) {
      const encoded = encodeRequest({ ...decodeRequest(new Uint8Array(0)), inputs });
      const bytes = Buffer.concat([Buffer.alloc(offset), encoded]).subarray(offset);
      const read = decodeRequest(bytes).inputs[0]?.contents;
      bytes.fill(0xff);
      expect(read?.fp32Contents).toEqual(Float32Array.of(1, 2));
      expect(read?.bytesContents).toEqual([Buffer.from('a')]);
    }
  });

  it.each([
    ['a float cut off', 50, [1, 2, 3, 4, 5]],
    ['a double cut off', 58, [1, 2, 3, 4]],
    ['a varint cut off', 18, [1, 0x80]],
    ['a varint of eleven bytes', 26, [...new Array(10).fill(0xff), 1]],
  ])('are refused if they hold %s', (_what, tag, bytes) => {
    const packed = new BinaryWriter().uint32(tag).bytes(Uint8Array.from(bytes)).finish();
    expect(() => createTensor(packed)).toThrow(RangeError);
    // An element cannot continue in the next piece.
    expect(() => createTensor(packed, packed)).toThrow(RangeError);
  });

  it('take no extra memory if many elements arrive one by one', () => {
    const writer = new BinaryWriter();
    for (let n = 0; n < 100_000; n++) writer.uint32(16).int32(n);
    expect(createTensor(writer.finish())?.contents?.intContents).toEqual(
      Int32Array.from({ length: 100_000 }, (_, n) => n),
    );
  });
});

describe('a message that cannot be written', () => {
  const empty = decodeRequest(new Uint8Array(0));
  const input = { name: 'x', datatype: 'FP32', shape: [1n], parameters: new Map() };
  const bad = { ...input, shape: [2n ** 64n] };

  it('leaves nothing in the next message', () => {
    const good = { ...empty, modelName: 'm', inputs: [input] };
    const expected = encodeRequest(good);
    expect(() => encodeRequest({ ...good, inputs: [bad] })).toThrow('does not fit in 64 bits');
    expect(encodeRequest(good)).toEqual(expected);
  });

  it('is not kept in memory until the next message', async () => {
    const failToWrite = (): WeakRef<ArrayBuffer> => {
      const floats = new Float32Array(1000);
      const large = { ...input, contents: { fp32Contents: floats } };
      expect(() => encodeRequest({ ...empty, inputs: [large, bad] })).toThrow('does not fit in 64 bits');
      return new WeakRef(floats.buffer);
    };
    const tensor = failToWrite();
    // The target of a weak reference stays alive until the current job ends.
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    expect(tensor.deref()).toBeUndefined();
  });
});

describe('a tensor', () => {
  it('is refused if it is longer than its enclosing message', () => {
    const inner = InputTensor.encode({
      name: 'x',
      datatype: '',
      shape: [],
      parameters: new Map(),
      contents: undefined,
    }).finish();
    const bytes = new BinaryWriter().uint32(42).bytes(inner).uint32(10).string('model').finish();
    bytes[1] = inner.length + 3;
    expect(() => decodeRequest(bytes)).toThrow('a field');
  });
});

describe('a message of a response stream', () => {
  const nothing = ModelInferResponse.decode(new Uint8Array(0));
  const encodeBare = (fields: Partial<ModelInferResponse>): Uint8Array =>
    ModelInferResponse.encode({ ...nothing, modelName: 'm', modelVersion: 'v0.1.0', ...fields }).finish();

  it.each<[string, Partial<ModelInferResponse>]>([
    ['an id', { id: '42' }],
    ['parameters', { parameters: new Map([['a', { parameterChoice: { $case: 'boolParam', value: true } }]]) }],
    [
      'an output',
      { outputs: [{ name: 'o', datatype: 'INT32', shape: [1n], parameters: new Map(), contents: undefined }] },
    ],
    ['raw contents', { rawOutputContents: [Buffer.from('abcd')] }],
  ])('can be a bare response as MLServer sends it, recognized by %s', (_what, fields) => {
    const { errorMessage, inferResponse } = decodeStreamResponse(encodeBare(fields));
    expect(errorMessage).toBe('');
    expect(toPlain(inferResponse)).toEqual(toPlain(ModelInferResponse.decode(encodeBare(fields))));
  });

  it('can be a recorded bare response of MLServer', () => {
    // model_name "m", id "7", one output "o" of BYTES [1] with the text "hi".
    const bytes = Buffer.from(
      '0a016d 1a0137 2a13 0a016f 12054259544553 1a0101 2a04 42026869'.replaceAll(' ', ''),
      'hex',
    );
    expect(decodeStreamResponse(bytes).inferResponse).toMatchObject({
      modelName: 'm',
      id: '7',
      outputs: [{ name: 'o', datatype: 'BYTES', shape: [1n], contents: { bytesContents: [Buffer.from('hi')] } }],
    });
  });

  it('is not mistaken for a bare response because of inner or unknown fields', () => {
    const inner = encodeBare({ id: '42', rawOutputContents: [Buffer.from('abcd')] });
    const bytes = new BinaryWriter().uint32(10).string('broke').uint32(18).bytes(inner).uint32(58).string('?').finish();
    expect(decodeStreamResponse(bytes)).toMatchObject({
      errorMessage: 'broke',
      inferResponse: { modelName: 'm', id: '42' },
    });
  });
});
