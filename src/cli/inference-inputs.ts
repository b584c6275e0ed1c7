import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AnyserveError, messageOf } from '../core/errors.js';
import { datatypeRow } from '../wire/datatype.js';
import { isJsonObject, type Json, JsonNumber } from '../wire/json.js';
import type { Parameters, ParameterValue } from '../wire/parameters.js';
import { tensorFromMessage } from '../wire/tensor.js';
import { datatypeAndShape } from '../wire/tensor-spec.js';
import { type Declared, type TensorValue, tensorFromValue } from '../wire/tensor-value.js';
import type { Arguments } from './command.js';
import { asUsage, jsonFromArgument } from './values.js';

/** What an inference is given, as the command line says it. */
export interface InferenceInputs {
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly parameters: Parameters;
}

/** Reads --prompt, --input, --inputs and --param. Throws `usage`. */
export async function inferenceInputs(args: Arguments, stdin: Readable): Promise<InferenceInputs> {
  const read = contentReader(stdin);
  const inputs: Record<string, TensorValue> = Object.create(null);
  const parameters: Record<string, ParameterValue> = Object.create(null);
  const add = (name: string, value: TensorValue): void => {
    if (name in inputs) throw new AnyserveError('usage', `input ${JSON.stringify(name)} is given twice`);
    inputs[name] = value;
  };

  const file = args.text('inputs');
  if (file !== undefined) {
    const where = `--inputs ${file}`;
    const json = jsonFromArgument(where, new TextDecoder().decode(await read(where, file)));
    if (!isJsonObject(json)) throw new AnyserveError('usage', `${where}: give an object of inputs by name`);
    addFromJson(where, json, add, parameters);
  }
  for (const argument of args.texts('input')) await addFromArgument(argument, read, add);
  const prompt = args.text('prompt');
  if (prompt !== undefined) {
    const data = prompt === '-' ? await read('--prompt -', '-') : new TextEncoder().encode(prompt);
    add('prompt', { datatype: 'BYTES', shape: [1], data: [data] });
  }
  for (const argument of args.texts('param')) addParameter(argument, parameters);
  return { inputs, parameters };
}

type AddInput = (name: string, value: TensorValue) => void;
type ReadContent = (where: string, path: string) => Promise<Uint8Array>;

/** Reads files, and standard input as `-`, which only one argument can have. */
function contentReader(stdin: Readable): ReadContent {
  let takenBy: string | undefined;
  return async (where, path) => {
    if (path !== '-') {
      return readFile(path).catch((cause) => {
        throw new AnyserveError('usage', `${where}: cannot read ${path}: ${messageOf(cause)}`, { cause });
      });
    }
    if (takenBy !== undefined)
      throw new AnyserveError('usage', `${where}: standard input is already read by ${takenBy}`);
    takenBy = where;
    const chunks: Buffer[] = [];
    for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  };
}

/** `{"a": [1, 2]}`, or the body that the protocol's REST side takes: `{"inputs": [{"name": ..., "data": ...}]}`. */
function addFromJson(
  where: string,
  json: ReadonlyMap<string, Json>,
  add: AddInput,
  parameters: Record<string, ParameterValue>,
): void {
  const tensors = json.get('inputs');
  if (!Array.isArray(tensors) || !tensors.every((tensor) => isJsonObject(tensor) && tensor.has('data'))) {
    for (const [name, value] of json) add(name, value as TensorValue);
    return;
  }
  for (const tensor of tensors.filter(isJsonObject)) {
    const name = tensor.get('name');
    const datatype = tensor.get('datatype');
    const shape = tensor.get('shape');
    if (typeof name !== 'string') throw new AnyserveError('usage', `${where}: an input has no name`);
    const label = `input ${JSON.stringify(name)}`;
    const sizes = Array.isArray(shape)
      ? shape.map((size) => (size instanceof JsonNumber ? Number(size.text) : Number.NaN))
      : undefined;
    const declared = typeof datatype === 'string' ? asUsage(() => datatypeAndShape(label, datatype)) : {};
    add(
      name,
      asUsage(() => declaredValue(label, tensor.get('data') as TensorValue, { ...declared, shape: sizes })),
    );
  }
  const given = json.get('parameters');
  for (const [name, value] of isJsonObject(given ?? null) ? (given as ReadonlyMap<string, Json>) : []) {
    parameters[name] = parameterFromJson(name, value);
  }
}

const INPUT = /^([^=]*?)(?::([A-Z0-9]+(?:\[[^\]]*\])?))?=(.*)$/s;

/** `name=[1,2]`, `name:FP32[2,3]=[...]`, `name:UINT8=@file`. */
async function addFromArgument(argument: string, read: ReadContent, add: AddInput): Promise<void> {
  const [, name, spec, text] = INPUT.exec(argument) ?? [];
  const where = `--input ${argument.length > 60 ? `${argument.slice(0, 60)}...` : argument}`;
  if (!name || text === undefined)
    throw new AnyserveError('usage', `${where}: give NAME=JSON, NAME:DATATYPE[SHAPE]=JSON or NAME:DATATYPE=@FILE`);
  const label = `input ${JSON.stringify(name)}`;
  const declared = spec === undefined ? {} : asUsage(() => datatypeAndShape(label, spec));
  if (!text.startsWith('@')) {
    const value = jsonFromArgument(where, text) as TensorValue;
    return add(
      name,
      asUsage(() => declaredValue(label, value, declared)),
    );
  }
  const content = await read(where, text.slice(1));
  add(
    name,
    asUsage(() => tensorFromContent(label, content, declared)),
  );
}

/** A value that is a tensor now if its datatype is known, and otherwise once the model has been asked. */
function declaredValue(label: string, value: TensorValue, declared: Declared): TensorValue {
  return declared.datatype ? tensorFromValue(label, value, declared) : value;
}

/** A file's bytes: the one element of a BYTES tensor, else elements as they lie in memory, little-endian. */
function tensorFromContent(label: string, content: Uint8Array, { datatype = 'BYTES', shape }: Declared): TensorValue {
  if (datatype === 'BYTES') return { datatype, shape: shape ?? [1], data: [content] };
  const message = (sizes: readonly number[]) => ({ name: '', datatype, shape: sizes.map(BigInt) });
  if (shape) return tensorFromMessage(label, message(shape), content);
  const { bytes } = datatypeRow(datatype);
  return tensorFromMessage(label, message([Math.floor(content.length / bytes)]), content);
}

function addParameter(argument: string, parameters: Record<string, ParameterValue>): void {
  const at = argument.indexOf('=');
  if (at < 1) throw new AnyserveError('usage', `--param ${JSON.stringify(argument)}: give NAME=VALUE`);
  const name = argument.slice(0, at);
  const text = argument.slice(at + 1);
  if (name in parameters) throw new AnyserveError('usage', `--param ${name} is given twice`);
  const isScalar = /^(?:true|false|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|".*")$/s.test(text);
  parameters[name] = isScalar ? parameterFromJson(name, jsonFromArgument(`--param ${argument}`, text)) : text;
}

function parameterFromJson(name: string, value: Json): ParameterValue {
  if (typeof value === 'string' || typeof value === 'boolean') return value;
  if (value instanceof JsonNumber) return /^-?\d+$/.test(value.text) ? BigInt(value.text) : Number(value.text);
  throw new AnyserveError('usage', `parameter ${JSON.stringify(name)}: give a text, a number, true or false`);
}
