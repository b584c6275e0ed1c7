import { type Json, JsonNumber, serializeJson } from '../json/json-value.js';
import type { Datatype } from './datatype.js';
import type { ElementValue } from './inference-data.js';

/** Smallest and largest value of each integer datatype. */
export const INTEGER_RANGES: Partial<Record<Datatype, readonly [bigint, bigint]>> = {
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

/** Returns whether an element is an integer. In JSON it must also be written as one: `2.0` is a float. */
export function isIntegerLiteral(element: ElementValue): boolean {
  return element instanceof JsonNumber ? /^-?\d+$/.test(element.text) : Number.isInteger(element);
}

/** Converts an element to an integer within a range. Undefined if it isn't one. */
export function toInteger(element: ElementValue, [minimum, maximum]: readonly [bigint, bigint]): bigint | undefined {
  const integer = toBigInt(element);
  return integer !== undefined && integer >= minimum && integer <= maximum ? integer : undefined;
}

/**
 * Converts an element with an exact integer value to a bigint. JSON numbers can have a point and an exponent: `1.5e1` is 15.
 */
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

export function toFloat(element: ElementValue): number | undefined {
  if (typeof element === 'number') return element;
  if (typeof element === 'bigint') return Number(element);
  if (element instanceof JsonNumber) return Number(element.text);
  // JSON has no numbers for these three.
  return element === 'NaN' || element === 'Infinity' || element === '-Infinity' ? Number(element) : undefined;
}

export function toBytes(element: ElementValue): Uint8Array | undefined {
  if (typeof element === 'string') return utf8.encode(element);
  if (element instanceof Uint8Array) return element;
  if (!(element instanceof Map) || element.size !== 1) return undefined;
  const base64: Json | undefined = element.get('b64');
  if (typeof base64 !== 'string' || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) return undefined;
  return new Uint8Array(Buffer.from(base64, 'base64'));
}

export function formatElement(element: ElementValue | undefined): string {
  if (typeof element === 'bigint' || typeof element === 'number') return String(element);
  if (element === undefined || element instanceof Uint8Array) return 'a byte string';
  if (!isJson(element)) return 'an object';
  const text = serializeJson(element);
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}

/**
 * Returns whether a value can be serialized as JSON. Plain JavaScript programs can pass any object, even one without
 * `toString`.
 */
function isJson(value: unknown): value is Json {
  if (typeof value !== 'object' || value === null || value instanceof JsonNumber) return true;
  if (value instanceof Map) return [...value.values()].every(isJson);
  return Array.isArray(value) && value.every(isJson);
}
