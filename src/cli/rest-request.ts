import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { Parameters, ParameterValue, RequestedOutput, Tensor, TensorValue } from '../inference/inference-data.js';
import { toParametersMessage } from '../inference/parameters.js';
import { parseTensorSpec } from '../inference/tensor-spec.js';
import { toTensor } from '../inference/tensor-value.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject } from '../json/json-value.js';
import { rethrowAsUsage } from './argument-parsers.js';

/** An inference request in the REST format of the Open Inference Protocol. */
export interface RestRequest {
  readonly id: string;
  readonly inputs: readonly (readonly [name: string, tensor: Tensor])[];
  readonly parameters: Readonly<Record<string, ParameterValue>>;
  readonly outputs: readonly RequestedOutput[];
}

/** Returns whether JSON is in REST format: `{"inputs": [{"name": ..., ...}]}`. Otherwise it is an object of inputs by name. */
export function isRestRequest(json: JsonObject): boolean {
  const inputs = json.get('inputs');
  return (
    Array.isArray(inputs) && inputs.length > 0 && inputs.every((input) => isJsonObject(input) && input.has('name'))
  );
}

/** Parses a request in REST format. Error messages begin with `where`. Throws `usage`. */
export function parseRestRequest(where: string, json: JsonObject): RestRequest {
  const id = json.get('id') ?? '';
  if (typeof id !== 'string') throw new AnyserveError('usage', `${where}: id is not a string`);
  return {
    id,
    inputs: getObjects(where, 'inputs', json).map((input) => {
      const name = getName(where, input);
      return [name, parseRestTensor(where, `input ${quote(name)}`, input)] as const;
    }),
    parameters: getParameters(where, json) ?? {},
    outputs: getObjects(where, 'outputs', json).map((output) => {
      const name = getName(where, output);
      return { name, parameters: getParameters(`${where}: output ${quote(name)}`, output) };
    }),
  };
}

/** Converts a JSON value to a request parameter. Throws `usage` for types that the protocol doesn't support. */
export function parseRestParameter(name: string, value: Json): ParameterValue {
  const parameter = value instanceof JsonNumber ? toNumberParameter(value.text) : value;
  rethrowAsUsage(() => toParametersMessage({ [name]: parameter as ParameterValue }));
  return parameter as ParameterValue;
}

function toNumberParameter(text: string): ParameterValue {
  return /^-?\d+$/.test(text) ? BigInt(text) : { double: Number(text) };
}

/** Returns the parameters of a request, an input or an output. Undefined if it has none. */
function getParameters(where: string, json: JsonObject): Parameters | undefined {
  const parameters = json.get('parameters');
  if (parameters === undefined) return undefined;
  if (!isJsonObject(parameters)) throw new AnyserveError('usage', `${where}: parameters are not an object`);
  return Object.fromEntries([...parameters].map(([name, value]) => [name, parseRestParameter(name, value)]));
}

/** Parses a tensor from an object with datatype, shape, data and optional parameters. Throws `usage`. */
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
    const parameters = getParameters(`${where}: ${label}`, input);
    return parameters ? { ...tensor, parameters } : tensor;
  });
}

function getObjects(where: string, field: string, json: JsonObject): JsonObject[] {
  const items = json.get(field) ?? [];
  if (Array.isArray(items) && items.every(isJsonObject)) return items;
  throw new AnyserveError('usage', `${where}: ${field} is not an array of objects`);
}

function getName(where: string, item: JsonObject): string {
  const name = item.get('name');
  if (typeof name === 'string') return name;
  throw new AnyserveError('usage', `${where}: an input or output has no name`);
}
