import { AnyserveError } from '../core/errors.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject } from '../wire/json.js';
import { messageFromParameters, type ParameterValue } from '../wire/parameters.js';
import type { Tensor } from '../wire/tensor.js';
import { datatypeAndShape } from '../wire/tensor-spec.js';
import { type TensorValue, tensorFromValue } from '../wire/tensor-value.js';
import { asUsage } from './values.js';

/** A request in the form that the protocol's REST side takes. */
export interface RestRequest {
  readonly id: string;
  readonly inputs: readonly (readonly [name: string, tensor: Tensor])[];
  readonly parameters: Readonly<Record<string, ParameterValue>>;
  readonly outputs: readonly string[];
}

/** Whether a file is in that form: `{"inputs": [{"name": ..., ...}]}`; else it is an object of inputs by name. */
export function isRestRequest(json: JsonObject): boolean {
  const inputs = json.get('inputs');
  return (
    Array.isArray(inputs) && inputs.length > 0 && inputs.every((input) => isJsonObject(input) && input.has('name'))
  );
}

/** Reads a request in that form; `where` begins the error. Throws `usage` for whatever it could not pass on. */
export function restRequest(where: string, json: JsonObject): RestRequest {
  const id = json.get('id') ?? '';
  if (typeof id !== 'string') throw new AnyserveError('usage', `${where}: its id is no text`);
  const parameters = json.get('parameters') ?? new Map();
  if (!isJsonObject(parameters)) throw new AnyserveError('usage', `${where}: its parameters are no object`);
  return {
    id,
    inputs: objects(where, 'inputs', json).map((input) => [nameOf(where, input), restTensor(where, input)] as const),
    parameters: Object.fromEntries([...parameters].map(([name, value]) => [name, parameterFromJson(name, value)])),
    outputs: objects(where, 'outputs', json).map((output) => nameOf(where, output)),
  };
}

/** A request parameter from a JSON value. Throws `usage` for what the protocol cannot carry. */
export function parameterFromJson(name: string, value: Json): ParameterValue {
  const parameter = value instanceof JsonNumber ? numberFrom(value.text) : value;
  asUsage(() => messageFromParameters({ [name]: parameter as ParameterValue }));
  return parameter as ParameterValue;
}

function numberFrom(text: string): ParameterValue {
  return /^-?\d+$/.test(text) ? BigInt(text) : { double: Number(text) };
}

function restTensor(where: string, input: JsonObject): Tensor {
  const label = `input ${JSON.stringify(nameOf(where, input))}`;
  const datatype = input.get('datatype');
  const shape = input.get('shape');
  const data = input.get('data');
  if (typeof datatype !== 'string') throw new AnyserveError('usage', `${where}: ${label} has no datatype`);
  if (!Array.isArray(shape)) throw new AnyserveError('usage', `${where}: ${label} has no shape`);
  if (data === undefined) throw new AnyserveError('usage', `${where}: ${label} has no data`);
  const sizes = shape.map((size: Json) => (size instanceof JsonNumber ? Number(size.text) : Number.NaN));
  return asUsage(() => {
    const declared = { datatype: datatypeAndShape(label, datatype).datatype, shape: sizes };
    return tensorFromValue(label, data as TensorValue, declared);
  });
}

function objects(where: string, field: string, json: JsonObject): JsonObject[] {
  const items = json.get(field) ?? [];
  if (Array.isArray(items) && items.every(isJsonObject)) return items;
  throw new AnyserveError('usage', `${where}: its ${field} are no array of objects`);
}

function nameOf(where: string, item: JsonObject): string {
  const name = item.get('name');
  if (typeof name === 'string') return name;
  throw new AnyserveError('usage', `${where}: an input or output has no name`);
}
