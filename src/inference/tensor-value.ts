import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { JsonNumber } from '../json/json-value.js';
import { DATATYPES, type Datatype, getDatatypeInfo, isDatatype, type NumericArray } from './datatype.js';
import { decodeBfloat16, decodeFloat16, encodeBfloat16, encodeFloat16 } from './float16.js';
import type { ElementValue, NestedValues, Tensor, TensorData, TensorValue } from './inference-data.js';
import { MAX_DIMENSIONS } from './message-limits.js';
import { formatElement, INTEGER_RANGES, isIntegerLiteral, toBytes, toFloat, toInteger } from './tensor-element.js';
import { requireMatchingShape } from './tensor-message.js';

const DATATYPE_OF_ARRAY = new Map<unknown, Datatype>(
  Object.entries(DATATYPES)
    .filter(([datatype, { array }]) => array && datatype !== 'FP16' && datatype !== 'BF16')
    .map(([datatype, { array }]) => [array, datatype as Datatype]),
);

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
  const data = toTensorData(label, datatype, elements);
  return requireMatchingShape(label, {
    datatype,
    shape: declared.shape ?? (Array.isArray(value) ? nesting : [1]),
    data,
  });
}

/** Returns whether the datatype of a value must be inferred if none is declared. */
export function isPlainValue(value: TensorValue): value is ElementValue | NestedValues {
  return !isTensor(value) && !DATATYPE_OF_ARRAY.has(getArrayClass(value));
}

/** Converts elements to the array of a datatype. Throws `invalid_argument` for an element that doesn't fit. */
export function toTensorData(label: string, datatype: Datatype, elements: readonly ElementValue[]): TensorData {
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
    data: toTensorData(label, datatype, [...(data as ElementValue[])]),
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

/**
 * Returns the elements of nested arrays in row-major order, and the shape of the nesting. A single value has the empty shape.
 */
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
  const everyElement = (test: (element: ElementValue) => boolean): boolean => elements.every(test);
  if (elements.length === 0) throw createError(label, 'cannot infer a datatype without elements; specify the datatype');
  if (everyElement((element) => typeof element === 'boolean')) return 'BOOL';
  if (everyElement((element) => toBytes(element) !== undefined)) return 'BYTES';
  if (everyElement((element) => typeof element === 'bigint')) return 'INT64';
  if (everyElement(isIntegerLiteral)) {
    const large = elements.find(
      (element) => toInteger(element, INTEGER_RANGES.INT32 as [bigint, bigint]) === undefined,
    );
    if (large === undefined) return 'INT32';
    throw createError(
      label,
      `${formatElement(large)} does not fit INT32, the default datatype of integers; specify the datatype`,
    );
  }
  if (everyElement((element) => typeof element === 'number' || element instanceof JsonNumber)) return 'FP32';
  throw createError(label, 'its elements must be all numbers, all booleans or all strings');
}

function roundTo(datatype: Datatype, floats: Float32Array): Float32Array {
  if (datatype === 'FP16') return decodeFloat16(encodeFloat16(floats));
  if (datatype === 'BF16') return decodeBfloat16(encodeBfloat16(floats));
  return floats;
}

function raise(error: Error): never {
  throw error;
}

function createError(label: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `${label}: ${problem}`);
}
