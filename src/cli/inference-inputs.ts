import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { getDatatypeInfo } from '../inference/datatype.js';
import type { Parameters, RequestedOutput } from '../inference/inference-data.js';
import { parseTensorMessage } from '../inference/tensor.js';
import { parseTensorSpec } from '../inference/tensor-spec.js';
import { type TensorHints, type TensorValue, toTensor } from '../inference/tensor-value.js';
import { isJsonObject, type Json, serializeJson } from '../json/exact-json.js';
import { parseJsonArgument, rethrowAsUsage } from './argument-parsers.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createOpeningMessages, readRequestParameters, SYSTEM_OPTION } from './request-parameters.js';
import { isRestRequest, parseRestRequest, parseRestTensor } from './rest-request.js';

/** What an inference is given, as the command line says it. */
export interface InferenceInputs {
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly parameters: Parameters;
  /** The request's id; a file in the form of the REST protocol may have one. */
  readonly id: string;
  /** The outputs wanted; none: all. */
  readonly outputs: readonly (string | RequestedOutput)[];
}

/** The options that say what a model is given, and which of its outputs are wanted. */
export const INPUT_OPTIONS: Readonly<Record<string, CommandOption>> = {
  prompt: {
    type: 'text',
    value: 'TEXT',
    description: 'an input called prompt; - reads standard input, as does a pipe when no input is given',
    mayBeEmpty: true,
  },
  system: SYSTEM_OPTION,
  input: {
    type: 'text',
    value: 'NAME=JSON',
    description:
      'an input: NAME=[1,2], NAME:FP32[2,3]=[...], NAME:UINT8=@FILE, or an object with datatype, shape, data and parameters',
    repeatable: true,
  },
  inputs: {
    type: 'text',
    value: 'FILE',
    description: 'a JSON file of inputs by name, or in the form of the REST protocol; - reads standard input',
  },
  output: { type: 'text', value: 'NAME', description: 'an output wanted; all when not given', repeatable: true },
};

/** Reads {@link INPUT_OPTIONS} and the options of the request's parameters. Throws `usage`. */
export async function readInferenceInputs(args: Arguments, stdin: CommandIo['stdin']): Promise<InferenceInputs> {
  const read = contentReader(stdin);
  const inputs: Record<string, TensorValue> = Object.create(null);
  let given: Parameters = {};
  let id = '';
  const outputs: (string | RequestedOutput)[] = [...args.texts('output')];
  const add = (name: string, value: TensorValue): void => {
    if (name in inputs) throw new AnyserveError('usage', `input ${JSON.stringify(name)} is given twice`);
    inputs[name] = value;
  };

  const file = args.text('inputs');
  if (file !== undefined) {
    const where = `--inputs ${file}`;
    const json = parseJsonArgument(where, utf8Text(where, await read(where, file)));
    if (!isJsonObject(json)) throw new AnyserveError('usage', `${where}: give an object of inputs by name`);
    if (isRestRequest(json)) {
      const request = parseRestRequest(where, json);
      for (const [name, value] of request.inputs) add(name, value);
      given = request.parameters;
      id = request.id;
      outputs.push(...request.outputs);
    } else for (const [name, value] of json) add(name, valueFromJson(where, `input ${quote(name)}`, value));
  }
  for (const argument of args.texts('input')) await addFromArgument(argument, read, add);
  // What is wrong with them is said before a pipe is waited for.
  const parameters = readRequestParameters(args, given);
  const prompt = await promptFrom(args, stdin, read);
  const system = createOpeningMessages(args);
  if (system.length === 0) {
    // Bytes in a list, because by themselves they would be numbers.
    if (prompt !== undefined) add('prompt', typeof prompt === 'string' ? prompt : [prompt]);
  } else {
    if (prompt === undefined) throw new AnyserveError('usage', '--system needs a prompt; give one behind the model');
    const content = typeof prompt === 'string' ? prompt : utf8Text('the prompt', prompt);
    add('messages', JSON.stringify([...system, { role: 'user', content }]));
  }
  return { inputs, parameters, id, outputs };
}

/** The prompt given, or what a pipe holds when no other input is given. */
async function promptFrom(
  args: Arguments,
  stdin: CommandIo['stdin'],
  read: ReadContent,
): Promise<string | Uint8Array | undefined> {
  const [, word] = args.words;
  if (word !== undefined && args.isGiven('prompt')) {
    throw new AnyserveError('usage', 'the prompt is given twice: behind the model and with --prompt');
  }
  const prompt = word ?? args.text('prompt');
  if (prompt === '-') return read('--prompt -', '-');
  const isGiven = prompt !== undefined || args.texts('input').length > 0 || args.text('inputs') !== undefined;
  if (isGiven || stdin.isTTY) return prompt;
  const piped = await read('the prompt', '-');
  return piped.length > 0 ? piped : undefined;
}

type AddInput = (name: string, value: TensorValue) => void;
type ReadContent = (where: string, path: string) => Promise<Uint8Array>;

/** Reads files, and standard input as `-`, which only one argument can have. */
function contentReader(stdin: Readable): ReadContent {
  let takenBy: string | undefined;
  return async (where, path) => {
    if (path !== '-') {
      return readFile(path).catch((cause) => {
        throw new AnyserveError('usage', `${where}: cannot read ${path}: ${getErrorMessage(cause)}`, { cause });
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
  const declared = spec === undefined ? {} : rethrowAsUsage(() => parseTensorSpec(label, spec));
  if (!text.startsWith('@')) {
    const value = valueFromJson(where, label, parseJsonArgument(where, text));
    return add(
      name,
      rethrowAsUsage(() => declaredValue(label, value, declared)),
    );
  }
  const content = await read(where, text.slice(1));
  add(
    name,
    rethrowAsUsage(() => tensorFromContent(label, content, declared)),
  );
}

/**
 * An object with `data` is a tensor, with its datatype and shape, and with parameters of its own if it has any. A list of objects,
 * which no tensor holds, is the text of itself: the messages of a chat. Others are what they are.
 */
function valueFromJson(where: string, label: string, value: Json): TensorValue {
  if (isJsonObject(value) && value.has('data')) return parseRestTensor(where, label, value);
  const isMessages = Array.isArray(value) && value.length > 0 && value.every(isMessage);
  return isMessages ? serializeJson(value) : (value as TensorValue);
}

/** Whether an element is an object, and not bytes: `{"b64": "..."}`. */
function isMessage(item: Json): boolean {
  return isJsonObject(item) && !item.has('b64');
}

/** A value that is a tensor now if its datatype is known, and otherwise once the model has been asked. */
function declaredValue(label: string, value: TensorValue, declared: TensorHints): TensorValue {
  return declared.datatype ? toTensor(label, value, declared) : value;
}

/** A file's bytes: the one element of a BYTES tensor, else elements as they lie in memory, little-endian. */
function tensorFromContent(
  label: string,
  content: Uint8Array,
  { datatype = 'BYTES', shape }: TensorHints,
): TensorValue {
  if (datatype === 'BYTES') return { datatype, shape: shape ?? [1], data: [content] };
  const message = (sizes: readonly number[]) => ({ name: '', datatype, shape: sizes.map(BigInt) });
  if (shape) return parseTensorMessage(label, message(shape), content);
  const { bytes } = getDatatypeInfo(datatype);
  return parseTensorMessage(label, message([Math.floor(content.length / bytes)]), content);
}
