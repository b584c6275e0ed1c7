import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';
import { AnyserveError } from '../core/errors.js';

/**
 * What a request may hold besides bytes. A field of two bytes in a message becomes an object of a hundred in memory, so
 * that a message within the size limit could otherwise take all there is; these are far beyond what models take.
 */
const MAX_TENSORS = 1024;

/** The most dimensions of a tensor: more than any model has. */
export const MAX_DIMENSIONS = 64;

/** The most elements of BYTES tensors, in a request of typed contents as in a raw tensor. */
export const MAX_BYTES_ELEMENTS = 1_000_000;

/** Typed 64-bit elements become an object each; raw ones do not. */
const MAX_TYPED_64_BIT_BYTES = 16 * 1024 * 1024;

/** The fields of the messages in question, by their published numbers. */
const REQUEST = { parameters: 4, inputs: 5, outputs: 6, rawInputContents: 7 } as const;
const INPUT = { shape: 3, parameters: 4, contents: 5 } as const;
const CONTENTS = { int64: 3, uint64: 5, bytes: 8 } as const;

/** Looks through an encoded `ModelInferRequest` before it is decoded. Throws `invalid_argument`, as for whatever would be refused anywhere. */
export function checkRequestLimits(encoded: Uint8Array): void {
  const reader = new BinaryReader(encoded);
  const counts = new Counts();
  eachField(reader, reader.len, (field, wireType) => {
    if (field === REQUEST.inputs) counts.add('inputs', MAX_TENSORS);
    if (field === REQUEST.outputs) counts.add('outputs', MAX_TENSORS);
    if (field === REQUEST.rawInputContents) counts.add('raw contents', MAX_TENSORS);
    if (field === REQUEST.parameters) counts.add('parameters', MAX_TENSORS);
    if (field === REQUEST.inputs && wireType === WireType.LengthDelimited) checkInput(encoded, reader, counts);
    else reader.skip(wireType);
  });
}

/** How many varints there are: the last byte of each is the one without the upper bit. Their length leads them. */
function varintsIn(bytes: Uint8Array): number {
  return bytes.reduce((count, byte) => (byte < 0x80 ? count + 1 : count), 0);
}

function checkInput(encoded: Uint8Array, reader: BinaryReader, counts: Counts): void {
  let dimensions = 0;
  eachField(reader, reader.uint32() + reader.pos, (field, wireType) => {
    const start = reader.pos;
    if (field === INPUT.parameters) counts.add('parameters', MAX_TENSORS);
    if (field === INPUT.contents && wireType === WireType.LengthDelimited) return checkContents(reader, counts);
    reader.skip(wireType);
    if (field === INPUT.shape)
      dimensions += wireType === WireType.Varint ? 1 : varintsIn(encoded.subarray(start, reader.pos)) - 1;
    if (dimensions > MAX_DIMENSIONS) throw exceeded('dimensions', MAX_DIMENSIONS);
  });
}

function checkContents(reader: BinaryReader, counts: Counts): void {
  eachField(reader, reader.uint32() + reader.pos, (field, wireType) => {
    const start = reader.pos;
    reader.skip(wireType);
    if (field === CONTENTS.bytes) counts.add('BYTES elements', MAX_BYTES_ELEMENTS);
    if (field !== CONTENTS.int64 && field !== CONTENTS.uint64) return;
    counts.add('bytes of typed 64-bit elements', MAX_TYPED_64_BIT_BYTES, reader.pos - start);
  });
}

function eachField(reader: BinaryReader, end: number, visit: (field: number, wireType: WireType) => void): void {
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    visit(field, wireType);
  }
}

class Counts {
  readonly #counts = new Map<string, number>();

  add(what: string, most: number, amount = 1): void {
    const count = (this.#counts.get(what) ?? 0) + amount;
    if (count > most) throw exceeded(what, most);
    this.#counts.set(what, count);
  }
}

function exceeded(what: string, most: number): AnyserveError {
  return new AnyserveError('invalid_argument', `a request has at most ${most} ${what}`);
}
