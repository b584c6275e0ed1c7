import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { type Json, JsonNumber, serializeJson } from '../json/exact-json.js';
import { DATATYPES, type Datatype, getDatatypeInfo, isDatatype, type NumericArray } from './datatype.js';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from './float16.js';
import type { Tensor, TensorData } from './inference-data.js';
import { MAX_DIMENSIONS } from './message-limits.js';
import { requireMatchingShape } from './tensor.js';

/** One element, from a program or from JSON. In JSON, bytes that aren't UTF-8 are `{"b64": "..."}`. */
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
 * A value that can be converted to a tensor: a tensor, a typed array, or a plain value, single or nested to the shape. A
 * typed array determines the datatype. A plain value gets the declared datatype, or else an inferred one.
 */
export type TensorValue = Tensor | NumericArray | ElementValue | NestedValues;

/** Plain values in nested arrays. At each depth, all arrays have the same length. */
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

/** The datatype and the shape of a tensor, as far as the sender specifies or knows them. */
export interface TensorHints {
  readonly datatype?: Datatype | undefined;
  readonly shape?: readonly number[] | undefined;
}

/**
 * Converts a value to a tensor. `label` names it in the error (`input "a"`). By default, integers become INT32 and other
 * numbers FP32, as in the client of the Python server. Throws `invalid_argument`.
 */
export function toTensor(label: string, value: TensorValue, declared: TensorHints = {}): Tensor {
  if (isTensor(value)) return checkTensor(label, value);
  const arrayDatatype = DATATYPE_OF_ARRAY.get(getArrayClass(value));
  if (arrayDatatype) {
    const data = value as NumericArray;
    return requireMatchingShape(label, { datatype: arrayDatatype, shape: declared.shape ?? [data.length], data });
  }
  const { elements, nesting } = flattenNested(label, value as ElementValue | NestedValues);
  const datatype = declared.datatype ?? inferDatatype(label, elements);
  const data = packElements(label, datatype, elements);
  return requireMatchingShape(label, {
    datatype,
    shape: declared.shape ?? (Array.isArray(value) ? nesting : [1]),
    data,
  });
}

/** Whether the datatype of a value must be inferred if none is declared. */
export function isPlainValue(value: TensorValue): value is ElementValue | NestedValues {
  return !isTensor(value) && !DATATYPE_OF_ARRAY.has(getArrayClass(value));
}

/** Converts elements to the array of a datatype. Throws `invalid_argument` for an element that doesn't fit. */
export function packElements(label: string, datatype: Datatype, elements: readonly ElementValue[]): TensorData {
  const createMisfit = (index: number): AnyserveError => {
    const position = elements.length > 1 ? ` at position ${index}` : '';
    return createError(label, `${formatElement(elements[index])}${position} is not a valid ${datatype}`);
  };
  if (datatype === 'BOOL') {
    return elements.map((element, index) => {
      if (typeof element !== 'boolean') throw createMisfit(index);
      return element;
    });
  }
  if (datatype === 'BYTES') return elements.map((element, index) => toBytes(element) ?? raise(createMisfit(index)));

  const { array } = getDatatypeInfo(datatype);
  const data = new (array as new (length: number) => NumericArray)(elements.length);
  const range = INTEGER_RANGES[datatype];
  for (const [index, element] of elements.entries()) {
    const number = range ? toInteger(element, range) : toFloat(element);
    if (number === undefined) throw createMisfit(index);
    data[index] = (
      range && !(data instanceof BigInt64Array || data instanceof BigUint64Array) ? Number(number) : number
    ) as never;
  }
  if (range) return data;
  const rounded = roundTo(datatype, data as Float32Array);
  const overflow = rounded.findIndex(
    (stored, index) => !Number.isFinite(stored) && Number.isFinite(Number(toFloat(elements[index] as ElementValue))),
  );
  if (overflow >= 0) throw createMisfit(overflow);
  return rounded;
}

/** Checks a tensor that a program created, and converts plain data to the array of its datatype. */
function checkTensor(label: string, { datatype, shape, data, parameters }: Tensor): Tensor {
  if (!isDatatype(datatype)) throw createError(label, `unknown datatype ${quote(datatype)}`);
  if (!Array.isArray(shape)) throw createError(label, 'its shape is not an array of sizes');
  if (!Array.isArray(data) && !ArrayBuffer.isView(data)) throw createError(label, 'its data is not an array');
  const { array } = getDatatypeInfo(datatype);
  const withParameters = parameters && { parameters };
  if (array && data instanceof array) return requireMatchingShape(label, { datatype, shape, data, ...withParameters });
  return requireMatchingShape(label, {
    datatype,
    shape,
    data: packElements(label, datatype, [...(data as ElementValue[])]),
    ...withParameters,
  });
}

function isTensor(value: TensorValue): value is Tensor {
  return typeof value === 'object' && value !== null && 'datatype' in value && 'data' in value && 'shape' in value;
}

function getArrayClass(value: TensorValue): unknown {
  if (value instanceof Uint8Array) return Uint8Array;
  return ArrayBuffer.isView(value) ? value.constructor : undefined;
}

/** Returns the elements of nested arrays in row-major order, and the shape of the nesting. A single value has the empty shape. */
export function flattenNested(
  label: string,
  value: ElementValue | NestedValues,
): { elements: readonly ElementValue[]; nesting: readonly number[] } {
  const elements: ElementValue[] = [];
  const nesting = flatten(label, value, elements);
  return { elements, nesting };
}

function flatten(label: string, value: ElementValue | NestedValues, into: ElementValue[], depth = 0): number[] {
  if (depth > MAX_DIMENSIONS) throw createError(label, `is nested deeper than ${MAX_DIMENSIONS} dimensions`);
  if (!isNested(value)) {
    into.push(value);
    return [];
  }
  const sizes = value.map((item) => flatten(label, item, into, depth + 1));
  const first = sizes[0] ?? [];
  if (sizes.some((size) => size.join() !== first.join())) throw createError(label, 'nested arrays differ in length');
  return [value.length, ...first];
}

function isNested(value: ElementValue | NestedValues): value is NestedValues {
  return Array.isArray(value);
}

function inferDatatype(label: string, elements: readonly ElementValue[]): Datatype {
  const all = (test: (element: ElementValue) => boolean): boolean => elements.every(test);
  if (elements.length === 0) throw createError(label, 'cannot infer a datatype without elements; specify the datatype');
  if (all((element) => typeof element === 'boolean')) return 'BOOL';
  if (all((element) => toBytes(element) !== undefined)) return 'BYTES';
  if (all((element) => typeof element === 'bigint')) return 'INT64';
  if (all(isIntegerLiteral)) {
    const large = elements.find(
      (element) => toInteger(element, INTEGER_RANGES.INT32 as [bigint, bigint]) === undefined,
    );
    if (large === undefined) return 'INT32';
    throw createError(
      label,
      `${formatElement(large)} does not fit INT32, the default datatype of integers; specify the datatype`,
    );
  }
  if (all((element) => typeof element === 'number' || element instanceof JsonNumber)) return 'FP32';
  throw createError(label, 'its elements must be all numbers, all booleans or all strings');
}

/** Whether an element is an integer. In JSON it must also be written as one: `2.0` is a float. */
function isIntegerLiteral(element: ElementValue): boolean {
  return element instanceof JsonNumber ? /^-?\d+$/.test(element.text) : Number.isInteger(element);
}

/** Converts an element to an integer within a range. Undefined if it isn't one. */
function toInteger(element: ElementValue, [minimum, maximum]: readonly [bigint, bigint]): bigint | undefined {
  const integer = toBigInt(element);
  return integer !== undefined && integer >= minimum && integer <= maximum ? integer : undefined;
}

/** Converts an element with an exact integer value to a bigint. JSON numbers can have a point and an exponent: `1.5e1` is 15. */
function toBigInt(element: ElementValue): bigint | undefined {
  if (typeof element === 'bigint') return element;
  if (typeof element === 'number') return Number.isInteger(element) ? BigInt(element) : undefined;
  if (!(element instanceof JsonNumber)) return undefined;
  const [, sign = '', integerPart = '', fraction = '', exponent = '0'] = DECIMAL.exec(element.text) ?? [];
  const digits = integerPart + fraction;
  // Position of the decimal point within the digits. No datatype has integers of more than 40 digits.
  const point = integerPart.length + Number(exponent);
  if (point > 40 || /[1-9]/.test(digits.slice(Math.max(point, 0)))) return undefined;
  return BigInt(`${sign}${digits.slice(0, Math.max(point, 0)).padEnd(Math.max(point, 1), '0')}`);
}

const DECIMAL = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?$/;

function toFloat(element: ElementValue): number | undefined {
  if (typeof element === 'number') return element;
  if (typeof element === 'bigint') return Number(element);
  if (element instanceof JsonNumber) return Number(element.text);
  // JSON has no numbers for these three.
  return element === 'NaN' || element === 'Infinity' || element === '-Infinity' ? Number(element) : undefined;
}

function toBytes(element: ElementValue): Uint8Array | undefined {
  if (typeof element === 'string') return utf8.encode(element);
  if (element instanceof Uint8Array) return element;
  if (!(element instanceof Map) || element.size !== 1) return undefined;
  const base64: Json | undefined = element.get('b64');
  if (typeof base64 !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return undefined;
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

function roundTo(datatype: Datatype, floats: Float32Array): Float32Array {
  if (datatype === 'FP16') return decodeFloat16(encodeFloat16(floats));
  if (datatype === 'BF16') return decodeBfloat16(encodeBfloat16(floats));
  return floats;
}

function formatElement(element: ElementValue | undefined): string {
  if (typeof element === 'bigint' || typeof element === 'number') return String(element);
  if (element === undefined || element instanceof Uint8Array) return 'a byte string';
  if (!isJson(element)) return 'an object';
  const text = serializeJson(element);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

/** Whether a value can be serialized as JSON. Plain JavaScript programs can pass any object, even one without `toString`. */
function isJson(value: unknown): value is Json {
  if (typeof value !== 'object' || value === null || value instanceof JsonNumber) return true;
  if (value instanceof Map) return [...value.values()].every(isJson);
  return Array.isArray(value) && value.every(isJson);
}

function raise(error: Error): never {
  throw error;
}

function createError(label: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${label}: ${problem}`);
}
