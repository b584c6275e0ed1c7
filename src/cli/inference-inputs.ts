import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AnyserveError, messageOf } from '../core/errors.js';
import { datatypeRow } from '../wire/datatype.js';
import { isJsonObject } from '../wire/json.js';
import type { Parameters, ParameterValue } from '../wire/parameters.js';
import { tensorFromMessage } from '../wire/tensor.js';
import { datatypeAndShape } from '../wire/tensor-spec.js';
import { type Declared, type TensorValue, tensorFromValue } from '../wire/tensor-value.js';
import type { Arguments } from './command.js';
import { isRestRequest, parameterFromJson, restRequest } from './rest-request.js';
import { asUsage, jsonFromArgument } from './values.js';

/** What an inference is given, as the command line says it. */
export interface InferenceInputs {
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly parameters: Parameters;
  /** The request's id; a file in the form of the REST protocol may have one. */
  readonly id: string;
  /** The outputs wanted; none: all. */
  readonly outputs: readonly string[];
}

/** Reads --prompt, --input, --inputs, --param and --output. Throws `usage`. */
export async function inferenceInputs(args: Arguments, stdin: Readable): Promise<InferenceInputs> {
  const read = contentReader(stdin);
  const inputs: Record<string, TensorValue> = Object.create(null);
  const parameters: Record<string, ParameterValue> = Object.create(null);
  let id = '';
  const outputs = [...args.texts('output')];
  const add = (name: string, value: TensorValue): void => {
    if (name in inputs) throw new AnyserveError('usage', `input ${JSON.stringify(name)} is given twice`);
    inputs[name] = value;
  };

  const file = args.text('inputs');
  if (file !== undefined) {
    const where = `--inputs ${file}`;
    const json = jsonFromArgument(where, utf8Text(where, await read(where, file)));
    if (!isJsonObject(json)) throw new AnyserveError('usage', `${where}: give an object of inputs by name`);
    if (isRestRequest(json)) {
      const request = restRequest(where, json);
      for (const [name, value] of request.inputs) add(name, value);
      Object.assign(parameters, request.parameters);
      id = request.id;
      outputs.push(...request.outputs);
    } else for (const [name, value] of json) add(name, value as TensorValue);
  }
  for (const argument of args.texts('input')) await addFromArgument(argument, read, add);
  const prompt = args.text('prompt');
  // A list of one, because bytes by themselves would be numbers.
  if (prompt !== undefined) add('prompt', prompt === '-' ? [await read('--prompt -', '-')] : prompt);
  for (const argument of args.texts('param')) addParameter(argument, parameters);
  return { inputs, parameters, id, outputs };
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

function utf8Text(where: string, content: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch (cause) {
    throw new AnyserveError('usage', `${where}: it is no UTF-8`, { cause });
  }
}

const INPUT = /^([^=:]+)(?::([^=]*))?=(.*)$/s;

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
  const isScalar = /^(?:true|false|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|".*")$/s.test(text);
  parameters[name] = isScalar ? parameterFromJson(name, jsonFromArgument(`--param ${argument}`, text)) : text;
}
