import { type Json, JsonNumber } from '../json/exact-json.js';
import type { Tensor } from './inference-data.js';
import { parameterToJson } from './parameters.js';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * A tensor as the REST side of the Open Inference Protocol writes it: `name`, `datatype`, `shape`, its `parameters` if it has any, and flat `data`.
 * Nothing is lost: 64-bit integers are written whole, NaN and the infinities as texts, bytes that are no UTF-8
 * as `{"b64": "..."}`.
 */
export function tensorToJson(name: string, { datatype, shape, data, parameters = {} }: Tensor): Json {
  const told = Object.entries(parameters).map(([key, value]) => [key, parameterToJson(value)] as const);
  return new Map<string, Json>([
    ['name', name],
    ['datatype', datatype],
    ['shape', shape.map((size) => new JsonNumber(String(size)))],
    ...(told.length > 0 ? [['parameters', new Map(told)] as const] : []),
    ['data', Array.from(data as ArrayLike<number | bigint | boolean | Uint8Array>, jsonFromElement)],
  ]);
}

/** The elements of a BYTES tensor as texts; bytes that are no UTF-8 become U+FFFD. */
export function tensorToTexts({ data }: Tensor): string[] {
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  return Array.from(data as readonly Uint8Array[], (element) => utf8.decode(element));
}

function jsonFromElement(element: number | bigint | boolean | Uint8Array): Json {
  if (typeof element === 'boolean') return element;
  if (typeof element === 'bigint') return new JsonNumber(String(element));
  if (typeof element === 'number') {
    if (Object.is(element, -0)) return new JsonNumber('-0.0');
    return Number.isFinite(element) ? new JsonNumber(String(element)) : String(element);
  }
  try {
    return strictUtf8.decode(element);
  } catch {
    return new Map([['b64', Buffer.from(element).toString('base64')]]);
  }
}
