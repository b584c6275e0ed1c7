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
import { copyToBuffer } from './packed-elements.js';
import { toParameters } from './parameters.js';
import type { TensorContents, TensorMessage } from './protocol-messages.js';

/** What an error calls a tensor: `input "a"`. Given as a function, it is made only where there is an error. */
type TensorLabel = string | (() => string);

/**
 * Reads a tensor from its message and, where the data came raw, its raw bytes. Throws `invalid_argument`, which names the
 * tensor, for whatever does not add up. The elements of raw BYTES are counted for the whole message.
 */
export function parseTensorMessage(
  label: TensorLabel,
  message: Omit<TensorMessage, 'parameters'> & Partial<Pick<TensorMessage, 'parameters'>>,
  raw: Uint8Array | undefined,
  count = new MessageCounter('request'),
): Tensor {
  if (!isDatatype(message.datatype)) {
    throw invalid(label, `unknown datatype ${quote(message.datatype)}; the datatypes are ${DATATYPE_NAMES}`);
  }
  const { datatype, contents } = message;
  const shape = message.shape.map(Number);
  const wanted = elementCount(label, shape);
  const filled = contents ? filledFields(contents) : [];
  if (raw !== undefined && filled.length > 0) throw invalid(label, 'has both typed and raw contents');
  const data =
    raw !== undefined
      ? dataFromRaw(label, datatype, raw, count)
      : dataFromContents(label, datatype, contents, filled, wanted);
  checkLength(label, shape, wanted, data);
  const { parameters } = message;
  if (!parameters || parameters.size === 0) return { datatype, shape, data };
  return { datatype, shape, data, parameters: toParameters(parameters) };
}

/** The tensor itself when its data has the elements that its shape asks for. Throws `invalid_argument`. */
export function requireMatchingShape(label: TensorLabel, tensor: Tensor): Tensor {
  const { shape, data } = tensor;
  checkLength(label, shape, elementCount(label, shape), data);
  return tensor;
}

/** Whether a tensor can only travel raw: the protocol has no typed field for 16-bit floats. */
export function isRawOnly({ datatype }: Tensor): boolean {
  return getDatatypeInfo(datatype).field === undefined;
}

/** The typed contents of a tensor that is not {@link isRawOnly}. */
export function toTensorContents({ datatype, data }: Tensor): TensorContents {
  const { field } = getDatatypeInfo(datatype);
  return field ? { [field]: data } : {};
}

/** The raw contents of a tensor: little-endian, each BYTES element led by its length in 4 bytes. */
export function toRawContents({ datatype, data }: Tensor): Uint8Array {
  if (datatype === 'BYTES') return rawFromBytes(data as readonly Uint8Array[]);
  if (datatype === 'BOOL') return Uint8Array.from(data as readonly boolean[], Number);
  const array =
    datatype === 'FP16'
      ? encodeFloat16(data as Float32Array)
      : datatype === 'BF16'
        ? encodeBfloat16(data as Float32Array)
        : (data as NumericArray);
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

/** The fields that hold any elements; one that holds none says nothing. */
function filledFields(contents: TensorContents): ContentsField[] {
  return (Object.keys(contents) as ContentsField[]).filter((field) => (contents[field]?.length ?? 0) > 0);
}

function dataFromContents(
  label: TensorLabel,
  datatype: Datatype,
  contents: TensorContents | undefined,
  filled: readonly ContentsField[],
  wanted: number,
): TensorData {
  const { field, array } = getDatatypeInfo(datatype);
  if (field === undefined) {
    if (wanted === 0 && filled.length === 0) return new Float32Array(0);
    throw invalid(label, `${datatype} has no typed contents in the protocol; send it raw`);
  }
  const stray = filled.find((other) => other !== field);
  if (stray) throw invalid(label, `${datatype} belongs in ${wireName(field)}, not in ${wireName(stray)}`);
  const elements = contents?.[field] ?? [];
  if (array === undefined) return elements as boolean[] | Uint8Array[];
  // What was read from the wire is an array of the field's own, which is the datatype's, too, from 32 bits on.
  if (elements instanceof array) return elements;
  const data = new array(elements.length);
  for (let at = 0; at < elements.length; at++) data[at] = elements[at] as never;
  if (getDatatypeInfo(datatype).bytes < 4) {
    for (let at = 0; at < elements.length; at++) {
      if (data[at] !== elements[at]) throw invalid(label, `${elements[at]} at position ${at} does not fit ${datatype}`);
    }
  }
  return data;
}

function dataFromRaw(label: TensorLabel, datatype: Datatype, raw: Uint8Array, count: MessageCounter): TensorData {
  if (datatype === 'BYTES') return bytesFromRaw(label, raw, count);
  const { bytes, array } = getDatatypeInfo(datatype);
  if (raw.length % bytes !== 0) {
    throw invalid(label, `${raw.length} raw bytes are not a multiple of the ${bytes} bytes of ${datatype}`);
  }
  if (datatype === 'BOOL') return boolsFromRaw(label, raw);
  const buffer = copyToBuffer(raw);
  if (datatype === 'FP16') return decodeFloat16(new Uint16Array(buffer));
  if (datatype === 'BF16') return decodeBfloat16(new Uint16Array(buffer));
  return array === undefined ? [] : new array(buffer);
}

function boolsFromRaw(label: TensorLabel, raw: Uint8Array): boolean[] {
  const bools = new Array<boolean>(raw.length);
  for (let at = 0; at < raw.length; at++) {
    const byte = raw[at] as number;
    if (byte > 1) throw invalid(label, `raw byte ${byte} at position ${at} is no BOOL; 0 and 1 are`);
    bools[at] = byte === 1;
  }
  return bools;
}

function bytesFromRaw(label: TensorLabel, message: Uint8Array, count: MessageCounter): Uint8Array[] {
  // A copy, so that whoever keeps an element does not keep the message with it.
  const raw = Buffer.from(message);
  const elements: Uint8Array[] = [];
  let at = 0;
  while (at < raw.length) {
    count.addElement();
    const start = at + 4;
    const end = start <= raw.length ? start + raw.readUInt32LE(at) : Number.POSITIVE_INFINITY;
    if (end > raw.length) throw invalid(label, `raw BYTES element ${elements.length} is longer than the data`);
    elements.push(raw.subarray(start, end));
    at = end;
  }
  return elements;
}

function rawFromBytes(elements: readonly Uint8Array[]): Uint8Array {
  const raw = new Uint8Array(elements.reduce((total, element) => total + 4 + element.length, 0));
  const view = new DataView(raw.buffer);
  let at = 0;
  for (const element of elements) {
    view.setUint32(at, element.length, true);
    raw.set(element, at + 4);
    at += 4 + element.length;
  }
  return raw;
}

function elementCount(label: TensorLabel, shape: readonly number[]): number {
  let count = 1;
  // What is no size must not be multiplied: two of them could make one.
  for (const size of shape) count = isSize(size) ? count * size : Number.NaN;
  if (!isSize(count)) throw invalid(label, `shape [${shape.join(',')}] is impossible`);
  return count;
}

function checkLength(label: TensorLabel, shape: readonly number[], wanted: number, data: TensorData): void {
  if (data.length === wanted) return;
  throw invalid(label, `shape [${shape.join(',')}] asks for ${wanted} elements, the data has ${data.length}`);
}

function isSize(size: number): boolean {
  return Number.isSafeInteger(size) && size >= 0;
}

/** `fp32Contents` as the protocol's description spells it. */
function wireName(field: ContentsField): string {
  return field.replace('Contents', '_contents');
}

function invalid(label: TensorLabel, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${typeof label === 'string' ? label : label()}: ${problem}`);
}
