import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { type Json, JsonNumber, serializeJson } from '../json/exact-json.js';
import { DATATYPES, type Datatype, getDatatypeInfo, isDatatype, type NumericArray } from './datatype.js';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from './float16.js';
import type { Tensor, TensorData } from './inference-data.js';
import { MAX_DIMENSIONS } from './message-limits.js';
import { requireMatchingShape } from './tensor.js';

/** One element as a program or a JSON text gives it. In JSON, bytes that are no text are `{"b64": "..."}`. */
export type ElementValue =
  | number
  | bigint
  | boolean
  | string
  | Uint8Array
  | JsonNumber
  | ReadonlyMap<string, Json>
  | null;

/**
 * Anything that can be made a tensor: a tensor itself, a typed array (its datatype is the array's), or plain values,
 * one or nested to the shape, whose datatype is the declared one, else guessed.
 */
export type TensorValue = Tensor | NumericArray | ElementValue | NestedValues;

/** Plain values in arrays of equal length. */
export type NestedValues = readonly (ElementValue | NestedValues)[];

const DATATYPE_OF_ARRAY = new Map<unknown, Datatype>(
  Object.entries(DATATYPES)
    .filter(([datatype, { array }]) => array && datatype !== 'FP16' && datatype !== 'BF16')
    .map(([datatype, { array }]) => [array, datatype as Datatype]),
);

const INTEGER_RANGES: Partial<Record<Datatype, readonly [bigint, bigint]>> = {
  UINT8: [0n, 0xffn],
  UINT16: [0n, 0xffffn],
  UINT32: [0n, 0xffffffffn],
  UINT64: [0n, 0xffffffffffffffffn],
  INT8: [-0x80n, 0x7fn],
  INT16: [-0x8000n, 0x7fffn],
  INT32: [-0x80000000n, 0x7fffffffn],
  INT64: [-0x8000000000000000n, 0x7fffffffffffffffn],
};

const utf8 = new TextEncoder();

/** What the sender says or knows of a tensor beside its value. */
export interface TensorHints {
  readonly datatype?: Datatype | undefined;
  readonly shape?: readonly number[] | undefined;
}

/**
 * Makes a tensor of a value. `label` names it in the error (`input "a"`). Integers become INT32 and other numbers
 * FP32 where nothing else is said, as the original's client does. Throws `invalid_argument`.
 */
export function toTensor(label: string, value: TensorValue, declared: TensorHints = {}): Tensor {
  if (isTensor(value)) return givenTensor(label, value);
  const ownDatatype = DATATYPE_OF_ARRAY.get(arrayClass(value));
  if (ownDatatype) {
    const data = value as NumericArray;
    return requireMatchingShape(label, { datatype: ownDatatype, shape: declared.shape ?? [data.length], data });
  }
  const { elements, nesting } = flattenNested(label, value as ElementValue | NestedValues);
  const datatype = declared.datatype ?? guessedDatatype(label, elements);
  const data = packElements(label, datatype, elements);
  return requireMatchingShape(label, {
    datatype,
    shape: declared.shape ?? (Array.isArray(value) ? nesting : [1]),
    data,
  });
}

/** Whether the datatype of a value would have to be guessed when nothing is declared. */
export function isPlainValue(value: TensorValue): value is ElementValue | NestedValues {
  return !isTensor(value) && !DATATYPE_OF_ARRAY.has(arrayClass(value));
}

/** The elements that fill an array of this datatype. Throws `invalid_argument` for one that does not fit. */
export function packElements(label: string, datatype: Datatype, elements: readonly ElementValue[]): TensorData {
  const misfit = (at: number): AnyserveError => {
    const where = elements.length > 1 ? ` at position ${at}` : '';
    return invalid(label, `${shown(elements[at])}${where} is no ${datatype}`);
  };
  if (datatype === 'BOOL') {
    return elements.map((element, at) => {
      if (typeof element !== 'boolean') throw misfit(at);
      return element;
    });
  }
  if (datatype === 'BYTES') return elements.map((element, at) => bytesFrom(element) ?? raise(misfit(at)));

  const { array } = getDatatypeInfo(datatype);
  const data = new (array as new (length: number) => NumericArray)(elements.length);
  const range = INTEGER_RANGES[datatype];
  for (const [at, element] of elements.entries()) {
    const number = range ? integerFrom(element, range) : floatFrom(element);
    if (number === undefined) throw misfit(at);
    data[at] = (
      range && !(data instanceof BigInt64Array || data instanceof BigUint64Array) ? Number(number) : number
    ) as never;
  }
  if (range) return data;
  const rounded = roundedTo(datatype, data as Float32Array);
  const overflown = rounded.findIndex(
    (stored, at) => !Number.isFinite(stored) && Number.isFinite(Number(floatFrom(elements[at] as ElementValue))),
  );
  if (overflown >= 0) throw misfit(overflown);
  return rounded;
}

function givenTensor(label: string, { datatype, shape, data, parameters }: Tensor): Tensor {
  if (!isDatatype(datatype)) throw invalid(label, `unknown datatype ${quote(datatype)}`);
  if (!Array.isArray(shape)) throw invalid(label, 'its shape is no array of sizes');
  if (!Array.isArray(data) && !ArrayBuffer.isView(data)) throw invalid(label, 'its data is no array');
  const { array } = getDatatypeInfo(datatype);
  const beside = parameters && { parameters };
  if (array && data instanceof array) return requireMatchingShape(label, { datatype, shape, data, ...beside });
  return requireMatchingShape(label, {
    datatype,
    shape,
    data: packElements(label, datatype, [...(data as ElementValue[])]),
    ...beside,
  });
}

function isTensor(value: TensorValue): value is Tensor {
  return typeof value === 'object' && value !== null && 'datatype' in value && 'data' in value && 'shape' in value;
}

function arrayClass(value: TensorValue): unknown {
  if (value instanceof Uint8Array) return Uint8Array;
  return ArrayBuffer.isView(value) ? value.constructor : undefined;
}

/** The elements of nested arrays in row-major order, and the sizes of the nesting: none for a single value. */
export function flattenNested(
  label: string,
  value: ElementValue | NestedValues,
): { elements: readonly ElementValue[]; nesting: readonly number[] } {
  const elements: ElementValue[] = [];
  const nesting = flatten(label, value, elements);
  return { elements, nesting };
}

function flatten(label: string, value: ElementValue | NestedValues, into: ElementValue[], depth = 0): number[] {
  if (depth > MAX_DIMENSIONS) throw invalid(label, `is nested deeper than ${MAX_DIMENSIONS} dimensions`);
  if (!isNested(value)) {
    into.push(value);
    return [];
  }
  const sizes = value.map((item) => flatten(label, item, into, depth + 1));
  const first = sizes[0] ?? [];
  if (sizes.some((size) => size.join() !== first.join())) throw invalid(label, 'nested arrays differ in length');
  return [value.length, ...first];
}

function isNested(value: ElementValue | NestedValues): value is NestedValues {
  return Array.isArray(value);
}

function guessedDatatype(label: string, elements: readonly ElementValue[]): Datatype {
  const all = (test: (element: ElementValue) => boolean): boolean => elements.every(test);
  if (elements.length === 0) throw invalid(label, 'has no elements to guess its datatype from; give the datatype');
  if (all((element) => typeof element === 'boolean')) return 'BOOL';
  if (all((element) => bytesFrom(element) !== undefined)) return 'BYTES';
  if (all((element) => typeof element === 'bigint')) return 'INT64';
  if (all(isWrittenAsInteger)) {
    const large = elements.find(
      (element) => integerFrom(element, INTEGER_RANGES.INT32 as [bigint, bigint]) === undefined,
    );
    if (large === undefined) return 'INT32';
    throw invalid(label, `${shown(large)} does not fit INT32, which integers are sent as; give the datatype`);
  }
  if (all((element) => typeof element === 'number' || element instanceof JsonNumber)) return 'FP32';
  throw invalid(label, 'its elements are not all numbers, all booleans or all texts');
}

/** A whole number; in JSON one that is also written as one, so that `2.0` is a float. */
function isWrittenAsInteger(element: ElementValue): boolean {
  return element instanceof JsonNumber ? /^-?\d+$/.test(element.text) : Number.isInteger(element);
}

function integerFrom(element: ElementValue, [least, most]: readonly [bigint, bigint]): bigint | undefined {
  const whole = wholeFrom(element);
  return whole !== undefined && whole >= least && whole <= most ? whole : undefined;
}

function wholeFrom(element: ElementValue): bigint | undefined {
  if (typeof element === 'bigint') return element;
  if (typeof element === 'number') return Number.isInteger(element) ? BigInt(element) : undefined;
  if (!(element instanceof JsonNumber)) return undefined;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = DECIMAL.exec(element.text) ?? [];
  const digits = whole + fraction;
  // The point's place in the digits; a number with more of them than any datatype has is none of ours.
  const point = whole.length + Number(exponent);
  if (point > 40 || /[1-9]/.test(digits.slice(Math.max(point, 0)))) return undefined;
  return BigInt(`${sign}${digits.slice(0, Math.max(point, 0)).padEnd(Math.max(point, 1), '0')}`);
}

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/;

function floatFrom(element: ElementValue): number | undefined {
  if (typeof element === 'number') return element;
  if (typeof element === 'bigint') return Number(element);
  if (element instanceof JsonNumber) return Number(element.text);
  // JSON has no other way to say these three.
  return element === 'NaN' || element === 'Infinity' || element === '-Infinity' ? Number(element) : undefined;
}

function bytesFrom(element: ElementValue): Uint8Array | undefined {
  if (typeof element === 'string') return utf8.encode(element);
  if (element instanceof Uint8Array) return element;
  if (!(element instanceof Map) || element.size !== 1) return undefined;
  const base64: Json | undefined = element.get('b64');
  if (typeof base64 !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return undefined;
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

function roundedTo(datatype: Datatype, floats: Float32Array): Float32Array {
  if (datatype === 'FP16') return decodeFloat16(encodeFloat16(floats));
  if (datatype === 'BF16') return decodeBfloat16(encodeBfloat16(floats));
  return floats;
}

function shown(element: ElementValue | undefined): string {
  if (typeof element === 'bigint' || typeof element === 'number') return String(element);
  if (element === undefined || element instanceof Uint8Array) return 'a byte string';
  if (!isJson(element)) return 'an object';
  const text = serializeJson(element);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

/** Whether a value can be written as JSON. Callers in plain JavaScript can give any object, also one without `toString`. */
function isJson(value: unknown): value is Json {
  if (typeof value !== 'object' || value === null || value instanceof JsonNumber) return true;
  if (value instanceof Map) return [...value.values()].every(isJson);
  return Array.isArray(value) && value.every(isJson);
}

function raise(error: Error): never {
  throw error;
}

function invalid(label: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${label}: ${problem}`);
}
