import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import {
  type ContentsField,
  DATATYPE_NAMES,
  type Datatype,
  getDatatypeInfo,
  isDatatype,
  type NumericArray,
} from './datatype.js';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from './float16.js';
import type { Tensor, TensorData } from './inference-data.js';
import { MessageCounter } from './message-limits.js';
import { toParameters } from './parameters.js';
import { copyToBuffer } from './protobuf-packing.js';
import type { TensorContents, TensorMessage } from './protocol-messages.js';

/** The name of a tensor in errors: `input "a"`. A function is only called if there is an error. */
type TensorLabel = string | (() => string);

/**
 * Converts a tensor from its message and, if the data is raw, its raw bytes. Throws `invalid_argument`, which names the
 * tensor, for inconsistent data. `count` counts the elements of raw BYTES for the whole message.
 */
export function parseTensorMessage(
  label: TensorLabel,
  message: Omit<TensorMessage, 'parameters'> & Partial<Pick<TensorMessage, 'parameters'>>,
  raw: Uint8Array | undefined,
  count = new MessageCounter('request'),
): Tensor {
  if (!isDatatype(message.datatype)) {
    throw createError(label, `unknown datatype ${quote(message.datatype)}; the datatypes are ${DATATYPE_NAMES}`);
  }
  const { datatype, contents } = message;
  const shape = message.shape.map(Number);
  const expectedLength = countElements(label, shape);
  const filled = contents ? getFilledFields(contents) : [];
  if (raw !== undefined && filled.length > 0) throw createError(label, 'has both typed and raw contents');
  const data =
    raw !== undefined
      ? parseRawData(label, datatype, raw, count)
      : parseContents(label, datatype, contents, filled, expectedLength);
  checkLength(label, shape, expectedLength, data);
  const { parameters } = message;
  if (!parameters || parameters.size === 0) return { datatype, shape, data };
  return { datatype, shape, data, parameters: toParameters(parameters) };
}

/** Returns the tensor if its data has as many elements as its shape needs. Throws `invalid_argument` otherwise. */
export function requireMatchingShape(label: TensorLabel, tensor: Tensor): Tensor {
  const { shape, data } = tensor;
  checkLength(label, shape, countElements(label, shape), data);
  return tensor;
}

/** Returns whether a tensor can only be sent raw. The protocol has no typed field for 16-bit floats. */
export function isRawOnly({ datatype }: Tensor): boolean {
  return getDatatypeInfo(datatype).field === undefined;
}

/** Returns the typed contents of a tensor that isn't {@link isRawOnly}. */
export function toTensorContents({ datatype, data }: Tensor): TensorContents {
  const { field } = getDatatypeInfo(datatype);
  return field ? { [field]: data } : {};
}

/** Returns the raw contents of a tensor: little-endian, and each BYTES element after its length in 4 bytes. */
export function toRawContents({ datatype, data }: Tensor): Uint8Array {
  if (datatype === 'BYTES') return packRawBytes(data as readonly Uint8Array[]);
  if (datatype === 'BOOL') return Uint8Array.from(data as readonly boolean[], Number);
  const array =
    datatype === 'FP16'
      ? encodeFloat16(data as Float32Array)
      : datatype === 'BF16'
        ? encodeBfloat16(data as Float32Array)
        : (data as NumericArray);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** Returns the fields that have any elements. Empty fields are ignored. */
function getFilledFields(contents: TensorContents): ContentsField[] {
  return (Object.keys(contents) as ContentsField[]).filter((field) => (contents[field]?.length ?? 0) > 0);
}

function parseContents(
  label: TensorLabel,
  datatype: Datatype,
  contents: TensorContents | undefined,
  filled: readonly ContentsField[],
  expectedLength: number,
): TensorData {
  const { field, array } = getDatatypeInfo(datatype);
  if (field === undefined) {
    if (expectedLength === 0 && filled.length === 0) return new Float32Array(0);
    throw createError(label, `the protocol has no typed contents for ${datatype}; send it raw`);
  }
  const stray = filled.find((other) => other !== field);
  if (stray) throw createError(label, `${datatype} belongs in ${toProtoName(field)}, not in ${toProtoName(stray)}`);
  const elements = contents?.[field] ?? [];
  if (array === undefined) return elements as boolean[] | Uint8Array[];
  // The decoder produces the field's array class. For datatypes of 32 and 64 bits this is also the datatype's class.
  if (elements instanceof array) return elements;
  const data = new array(elements.length);
  for (let i = 0; i < elements.length; i++) data[i] = elements[i] as never;
  if (getDatatypeInfo(datatype).bytes < 4) {
    for (let i = 0; i < elements.length; i++) {
      if (data[i] !== elements[i]) throw createError(label, `${elements[i]} at position ${i} does not fit ${datatype}`);
    }
  }
  return data;
}

function parseRawData(label: TensorLabel, datatype: Datatype, raw: Uint8Array, count: MessageCounter): TensorData {
  if (datatype === 'BYTES') return parseRawBytes(label, raw, count);
  const { bytes, array } = getDatatypeInfo(datatype);
  if (raw.length % bytes !== 0) {
    throw createError(label, `${raw.length} raw bytes are not a multiple of the ${bytes} bytes of ${datatype}`);
  }
  if (datatype === 'BOOL') return parseRawBools(label, raw);
  const buffer = copyToBuffer(raw);
  if (datatype === 'FP16') return decodeFloat16(new Uint16Array(buffer));
  if (datatype === 'BF16') return decodeBfloat16(new Uint16Array(buffer));
  return array === undefined ? [] : new array(buffer);
}

function parseRawBools(label: TensorLabel, raw: Uint8Array): boolean[] {
  const bools = new Array<boolean>(raw.length);
  for (let i = 0; i < raw.length; i++) {
    const byte = raw[i] as number;
    if (byte > 1) throw createError(label, `raw byte ${byte} at position ${i} is not a BOOL: it must be 0 or 1`);
    bools[i] = byte === 1;
  }
  return bools;
}

function parseRawBytes(label: TensorLabel, message: Uint8Array, count: MessageCounter): Uint8Array[] {
  // A copy, so that an element doesn't keep the whole message in memory.
  const raw = Buffer.from(message);
  const elements: Uint8Array[] = [];
  let offset = 0;
  while (offset < raw.length) {
    count.addElement();
    const start = offset + 4;
    const end = start <= raw.length ? start + raw.readUInt32LE(offset) : Number.POSITIVE_INFINITY;
    if (end > raw.length) throw createError(label, `raw BYTES element ${elements.length} is longer than the data`);
    elements.push(raw.subarray(start, end));
    offset = end;
  }
  return elements;
}

function packRawBytes(elements: readonly Uint8Array[]): Uint8Array {
  const raw = new Uint8Array(elements.reduce((total, element) => total + 4 + element.length, 0));
  const view = new DataView(raw.buffer);
  let offset = 0;
  for (const element of elements) {
    view.setUint32(offset, element.length, true);
    raw.set(element, offset + 4);
    offset += 4 + element.length;
  }
  return raw;
}

function countElements(label: TensorLabel, shape: readonly number[]): number {
  let count = 1;
  // Invalid sizes aren't multiplied, because the product of two could be valid.
  for (const size of shape) count = isSize(size) ? count * size : Number.NaN;
  if (!isSize(count)) throw createError(label, `invalid shape [${shape.join(',')}]`);
  return count;
}

function checkLength(label: TensorLabel, shape: readonly number[], expected: number, data: TensorData): void {
  if (data.length === expected) return;
  throw createError(label, `shape [${shape.join(',')}] needs ${expected} elements, but the data has ${data.length}`);
}

function isSize(size: number): boolean {
  return Number.isSafeInteger(size) && size >= 0;
}

/** Returns the name of a field in the protocol's description: `fp32_contents` for `fp32Contents`. */
function toProtoName(field: ContentsField): string {
  return field.replace('Contents', '_contents');
}

function createError(label: TensorLabel, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${typeof label === 'string' ? label : label()}: ${problem}`);
}
