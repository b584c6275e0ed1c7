import { type Json, JsonNumber } from '../json/json-value.js';
import type { Tensor } from './inference-data.js';
import { parameterToJson } from './parameters.js';

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Converts a tensor to JSON as in the REST API of the Open Inference Protocol: `name`, `datatype`, `shape`, `parameters` if it
 * has any, and flat `data`. It is lossless: 64-bit integers keep all digits, NaN and the infinities become strings, and bytes
 * that aren't valid UTF-8 become `{"b64": "..."}`.
 */
export function tensorToJson(name: string, { datatype, shape, data, parameters = {} }: Tensor): Json {
  const jsonParameters = Object.entries(parameters).map(([key, value]) => [key, parameterToJson(value)] as const);
  return new Map<string, Json>([
    ['name', name],
    ['datatype', datatype],
    ['shape', shape.map((size) => new JsonNumber(String(size)))],
    ...(jsonParameters.length > 0 ? [['parameters', new Map(jsonParameters)] as const] : []),
    ['data', Array.from(data as ArrayLike<number | bigint | boolean | Uint8Array>, elementToJson)],
  ]);
}

/** Returns the elements of a BYTES tensor as strings. Invalid UTF-8 becomes U+FFFD. */
export function tensorToTexts({ data }: Tensor): string[] {
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  return Array.from(data as readonly Uint8Array[], (element) => utf8.decode(element));
}

function elementToJson(element: number | bigint | boolean | Uint8Array): Json {
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
