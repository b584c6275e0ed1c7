import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';

const text = fc.string({ unit: 'grapheme', maxLength: 50 });
const int32 = fc.oneof(fc.integer(), fc.integer({ min: -200, max: 200 }), fc.constantFrom(-0x80000000, 0x7fffffff));
const uint32 = fc.oneof(fc.integer({ min: 0, max: 0xffffffff }), fc.nat(200), fc.constant(0xffffffff));
const int64 = fc.oneof(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), fc.bigInt(-200n, 200n));
const uint64 = fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 200n));
const byteString = fc
  .oneof(
    { weight: 9, arbitrary: fc.uint8Array({ maxLength: 40 }) },
    fc.nat(3000).map((length) => new Uint8Array(length)),
  )
  .map((bytes) => Buffer.from(bytes));

const parameters = fc
  .array(
    fc.tuple(
      text,
      fc.oneof(
        fc.boolean().map((value) => ({ $case: 'boolParam' as const, value })),
        int64.map((value) => ({ $case: 'int64Param' as const, value })),
        text.map((value) => ({ $case: 'stringParam' as const, value })),
        fc.double().map((value) => ({ $case: 'doubleParam' as const, value })),
        uint64.map((value) => ({ $case: 'uint64Param' as const, value })),
      ),
    ),
    { maxLength: 3 },
  )
  .map((entries) => new Map(entries.map(([name, parameterChoice]) => [name, { parameterChoice }])));

/** Tensor contents with values in any fields, even several at once. Other code refuses fields that don't fit the datatype. */
export const contents = fc.record({
  boolContents: fc.array(fc.boolean(), { maxLength: 5 }),
  intContents: fc.array(int32, { maxLength: 5 }),
  int64Contents: fc.array(int64, { maxLength: 5 }),
  uintContents: fc.array(uint32, { maxLength: 5 }),
  uint64Contents: fc.array(uint64, { maxLength: 5 }),
  fp32Contents: fc.oneof(
    fc.array(fc.float(), { maxLength: 5 }),
    fc.nat(600).map((length) => Array.from({ length }, (_, at) => at / 4)),
  ),
  fp64Contents: fc.array(fc.double(), { maxLength: 5 }),
  bytesContents: fc.array(byteString, { maxLength: 3 }),
});

const tensor = fc.record({
  name: text,
  datatype: text,
  shape: fc.array(int64, { maxLength: 4 }),
  parameters,
  contents: fc.option(contents, { nil: undefined }),
});
const common = { modelName: text, modelVersion: text, id: text, parameters };
const raw = fc.array(byteString, { maxLength: 3 });

/** An inference request in the form of the generated code. */
export const request = fc.record({
  ...common,
  inputs: fc.array(tensor, { maxLength: 3 }),
  outputs: fc.array(fc.record({ name: text, parameters }), { maxLength: 3 }),
  rawInputContents: raw,
});

/** An inference response in the form of the generated code. */
export const response = fc.record({ ...common, outputs: fc.array(tensor, { maxLength: 3 }), rawOutputContents: raw });

/** A message of a response stream in the form of the generated code. */
export const streamMessage = fc.record({ errorMessage: text, inferResponse: fc.option(response, { nil: undefined }) });

/** Tags of packed varint fields by nesting level: none in a message, the shape of a tensor, five fields of its contents. */
const VARINTS = [[], [26], [10, 18, 26, 34, 42]];

/**
 * Re-encodes a message as other encoders can write it: with its fields in reverse order, and with each varint padded to at
 * least `numberBytes` bytes. Goes down to the contents of tensors. Both a tensor and its contents have the tag 42.
 */
export function reencode(bytes: Uint8Array, numberBytes: number, level = 0): Buffer {
  const reader = new BinaryReader(bytes);
  const fields: Buffer[] = [];
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    let content: Uint8Array = reader.bytes();
    if (VARINTS[level]?.includes(tag)) content = padVarints(content, numberBytes);
    else if (tag === 42 && level < 2) content = reencode(content, numberBytes, level + 1);
    const head = new BinaryWriter().uint32(tag).uint32(content.length).finish();
    fields.push(Buffer.concat([padVarints(head, numberBytes), content]));
  }
  return Buffer.concat(fields.reverse());
}

/** Pads varints with zeros at their upper end. */
function padVarints(varints: Uint8Array, numberBytes: number): Buffer {
  const bytes: number[] = [];
  let length = 0;
  for (const byte of varints) {
    bytes.push(byte);
    length++;
    if (byte >= 0x80) continue;
    if (length < numberBytes) {
      bytes.push((bytes.pop() as number) | 0x80, ...new Array(numberBytes - length - 1).fill(0x80), 0);
    }
    length = 0;
  }
  return Buffer.from(bytes);
}
