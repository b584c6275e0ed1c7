import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Parameters, ParameterValue, RequestedOutput, Tensor } from '../inference/inference-data.js';
import { toParametersMessage } from '../inference/parameters.js';
import { parseTensorSpec } from '../inference/tensor-spec.js';
import { type TensorValue, toTensor } from '../inference/tensor-value.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject } from '../json/exact-json.js';
import { rethrowAsUsage } from './argument-parsers.js';

/** A request in the form that the protocol's REST side takes. */
export interface RestRequest {
  readonly id: string;
  readonly inputs: readonly (readonly [name: string, tensor: Tensor])[];
  readonly parameters: Readonly<Record<string, ParameterValue>>;
  readonly outputs: readonly RequestedOutput[];
}

/** Whether a file is in that form: `{"inputs": [{"name": ..., ...}]}`; else it is an object of inputs by name. */
export function isRestRequest(json: JsonObject): boolean {
  const inputs = json.get('inputs');
  return (
    Array.isArray(inputs) && inputs.length > 0 && inputs.every((input) => isJsonObject(input) && input.has('name'))
  );
}

/** Reads a request in that form; `where` begins the error. Throws `usage` for whatever it could not pass on. */
export function parseRestRequest(where: string, json: JsonObject): RestRequest {
  const id = json.get('id') ?? '';
  if (typeof id !== 'string') throw new AnyserveError('usage', `${where}: its id is no text`);
  return {
    id,
    inputs: objects(where, 'inputs', json).map((input) => {
      const name = nameOf(where, input);
      return [name, parseRestTensor(where, `input ${quote(name)}`, input)] as const;
    }),
    parameters: parametersOf(where, json) ?? {},
    outputs: objects(where, 'outputs', json).map((output) => {
      const name = nameOf(where, output);
      return { name, parameters: parametersOf(`${where}: output ${quote(name)}`, output) };
    }),
  };
}

/** A request parameter from a JSON value. Throws `usage` for what the protocol cannot carry. */
export function parseRestParameter(name: string, value: Json): ParameterValue {
  const parameter = value instanceof JsonNumber ? numberFrom(value.text) : value;
  rethrowAsUsage(() => toParametersMessage({ [name]: parameter as ParameterValue }));
  return parameter as ParameterValue;
}

function numberFrom(text: string): ParameterValue {
  return /^-?\d+$/.test(text) ? BigInt(text) : { double: Number(text) };
}

/** The parameters of a request, an input or an output; undefined where it has none. */
function parametersOf(where: string, json: JsonObject): Parameters | undefined {
  const parameters = json.get('parameters');
  if (parameters === undefined) return undefined;
  if (!isJsonObject(parameters)) throw new AnyserveError('usage', `${where}: its parameters are no object`);
  return Object.fromEntries([...parameters].map(([name, value]) => [name, parseRestParameter(name, value)]));
}

/** The tensor that an object with datatype, shape, data and perhaps parameters says. Throws `usage`. */
export function parseRestTensor(where: string, label: string, input: JsonObject): Tensor {
  const datatype = input.get('datatype');
  const shape = input.get('shape');
  const data = input.get('data');
  if (typeof datatype !== 'string') throw new AnyserveError('usage', `${where}: ${label} has no datatype`);
  if (!Array.isArray(shape)) throw new AnyserveError('usage', `${where}: ${label} has no shape`);
  if (data === undefined) throw new AnyserveError('usage', `${where}: ${label} has no data`);
  const sizes = shape.map((size: Json) => (size instanceof JsonNumber ? Number(size.text) : Number.NaN));
  return rethrowAsUsage(() => {
    const declared = { datatype: parseTensorSpec(label, datatype).datatype, shape: sizes };
    const tensor = toTensor(label, data as TensorValue, declared);
    const parameters = parametersOf(`${where}: ${label}`, input);
    return parameters ? { ...tensor, parameters } : tensor;
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
