import { readFile } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { describeFileError } from '../credentials/named-file.js';
import { getDatatypeInfo } from '../inference/datatype.js';
import type { Parameters, RequestedOutput, TensorValue } from '../inference/inference-data.js';
import { parseTensorMessage } from '../inference/tensor-message.js';
import { parseTensorSpec } from '../inference/tensor-spec.js';
import { type TensorHints, toTensor } from '../inference/tensor-value.js';
import { isJsonObject, type Json, serializeJson } from '../json/json-value.js';
import { parseJsonArgument, rethrowAsUsage } from './argument-parsers.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createOpeningMessages, readRequestParameters, SYSTEM_OPTION } from './request-parameters.js';
import { isRestRequest, parseRestRequest, parseRestTensor } from './rest-request.js';

/** Inputs, parameters and requested outputs of an inference request, as read from the command line. */
export interface InferenceInputs {
  readonly inputs: Readonly<Record<string, TensorValue>>;
  readonly parameters: Parameters;
  /** Request id. Only a file in REST format has one; otherwise empty. */
  readonly id: string;
  /** Requested outputs. Empty: all. */
  readonly outputs: readonly (string | RequestedOutput)[];
}

/** Options for the inputs of a model and the requested outputs. */
export const INPUT_OPTIONS: Readonly<Record<string, CommandOption>> = {
  prompt: {
    type: 'text',
    value: 'TEXT',
    description:
      'value of the input named prompt; - reads stdin, which is also read when it is a pipe and no input is given',
    mayBeEmpty: true,
  },
  system: SYSTEM_OPTION,
  input: {
    type: 'text',
    value: 'NAME=JSON',
    description:
      'input tensor: NAME=[1,2], NAME:FP32[2,3]=[...], NAME:UINT8=@FILE, or an object with datatype, shape, data and parameters',
    repeatable: true,
  },
  inputs: {
    type: 'text',
    value: 'FILE',
    description: 'JSON file with inputs by name, or a request in REST format; - reads stdin',
  },
  output: {
    type: 'text',
    value: 'NAME',
    description: 'name of an output to return; all outputs when not given',
    repeatable: true,
  },
};

/** Reads the {@link INPUT_OPTIONS} and the request parameters. Throws `usage`. */
export async function readInferenceInputs(args: Arguments, stdin: CommandIo['stdin']): Promise<InferenceInputs> {
  const read = createContentReader(stdin);
  const inputs: Record<string, TensorValue> = Object.create(null);
  let fileParameters: Parameters = {};
  let id = '';
  const outputs: (string | RequestedOutput)[] = [...args.getTexts('output')];
  const add = (name: string, value: TensorValue): void => {
    if (name in inputs) throw new AnyserveError('usage', `input ${JSON.stringify(name)} is given twice; give it once`);
    inputs[name] = value;
  };

  const file = args.getText('inputs');
  if (file !== undefined) {
    const where = `--inputs ${file}`;
    const json = parseJsonArgument(where, decodeUtf8(where, await read(where, file)));
    if (!isJsonObject(json))
      throw new AnyserveError('usage', `${where}: not a JSON object; give inputs by name, such as {"x": [1, 2]}`);
    if (isRestRequest(json)) {
      const request = parseRestRequest(where, json);
      for (const [name, value] of request.inputs) add(name, value);
      fileParameters = request.parameters;
      id = request.id;
      outputs.push(...request.outputs);
    } else for (const [name, value] of json) add(name, parseJsonValue(where, `input ${quote(name)}`, value));
  }
  for (const argument of args.getTexts('input')) await addInputArgument(argument, read, add);
  // Read before the prompt, so that errors are reported before waiting for stdin.
  const parameters = readRequestParameters(args, fileParameters);
  const prompt = await readPrompt(args, stdin, read);
  const system = createOpeningMessages(args);
  if (system.length === 0) {
    // Bytes are wrapped in a list, because a bare Uint8Array is a tensor of numbers.
    if (prompt !== undefined) add('prompt', typeof prompt === 'string' ? prompt : [prompt]);
  } else {
    if (prompt === undefined) throw new AnyserveError('usage', '--system needs a prompt; give one after the model');
    const content = typeof prompt === 'string' ? prompt : decodeUtf8('the prompt', prompt);
    add('messages', JSON.stringify([...system, { role: 'user', content }]));
  }
  return { inputs, parameters, id, outputs };
}

/** Returns the prompt: from the command line, or from a pipe when there is no other input. */
async function readPrompt(
  args: Arguments,
  stdin: CommandIo['stdin'],
  read: ReadContent,
): Promise<string | Uint8Array | undefined> {
  const [, word] = args.words;
  if (word !== undefined && args.isGiven('prompt')) {
    throw new AnyserveError('usage', 'the prompt is given twice: after the model and with --prompt');
  }
  const prompt = word ?? args.getText('prompt');
  if (prompt === '-') return read('--prompt -', '-');
  const hasInput = prompt !== undefined || args.getTexts('input').length > 0 || args.getText('inputs') !== undefined;
  if (hasInput || stdin.isTTY) return prompt;
  const piped = await read('the prompt', '-');
  return piped.length > 0 ? piped : undefined;
}

type AddInput = (name: string, value: TensorValue) => void;
type ReadContent = (where: string, path: string) => Promise<Uint8Array>;

const JSON_START = /^\s*[[{]/;
const NOT_JSON_ADVICE = 'FILE is the name of a file, not JSON; pipe JSON to --inputs -';

/** Creates a reader of files. The path `-` is stdin, which only one argument can read. */
function createContentReader(stdin: Readable): ReadContent {
  let stdinReader: string | undefined;
  return async (where, path) => {
    if (path !== '-') {
      return readFile(path).catch((cause) => {
        const problem = `${where}: cannot read ${path}: ${describeFileError(cause)}`;
        throw new AnyserveError(
          'usage',
          where === `--inputs ${path}` && JSON_START.test(path) ? NOT_JSON_ADVICE : problem,
          { cause },
        );
      });
    }
    if (stdinReader !== undefined)
      throw new AnyserveError('usage', `${where}: stdin is already read by ${stdinReader}; give - once`);
    stdinReader = where;
    const chunks: Buffer[] = [];
    for await (const chunk of stdin) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  };
}

function decodeUtf8(where: string, content: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(content);
  } catch (cause) {
    throw new AnyserveError('usage', `${where}: not valid UTF-8`, { cause });
  }
}

const INPUT = /^([^=:]+)(?::([^=]*))?=(.*)$/s;

/** Parses `name=[1,2]`, `name:FP32[2,3]=[...]` or `name:UINT8=@file`, and adds the input. */
async function addInputArgument(argument: string, read: ReadContent, add: AddInput): Promise<void> {
  const [, name, spec, text] = INPUT.exec(argument) ?? [];
  const where = `--input ${argument.length > 60 ? `${argument.slice(0, 60)}...` : argument}`;
  if (!name || text === undefined)
    throw new AnyserveError('usage', `${where}: give NAME=JSON, NAME:DATATYPE[SHAPE]=JSON or NAME:DATATYPE=@FILE`);
  const label = `input ${JSON.stringify(name)}`;
  const declared = spec === undefined ? {} : rethrowAsUsage(() => parseTensorSpec(label, spec));
  if (!text.startsWith('@')) {
    const value = parseJsonValue(where, label, parseJsonArgument(where, text));
    return add(
      name,
      rethrowAsUsage(() => coerceValue(label, value, declared)),
    );
  }
  const content = await read(where, text.slice(1));
  add(
    name,
    rethrowAsUsage(() => createTensorFromBytes(label, content, declared)),
  );
}

/**
 * Converts a JSON value to an input. An object with `data` is a tensor with datatype, shape and optional parameters. A list
 * of objects, such as chat messages, becomes its JSON text, because no tensor can contain objects. Other values are
 * returned unchanged.
 */
function parseJsonValue(where: string, label: string, value: Json): TensorValue {
  if (isJsonObject(value) && value.has('data')) return parseRestTensor(where, label, value);
  const isMessages = Array.isArray(value) && value.length > 0 && value.every(isMessage);
  return isMessages ? serializeJson(value) : (value as TensorValue);
}

/** Returns whether an element is an object other than base64 bytes, which are written `{"b64": "..."}`. */
function isMessage(item: Json): boolean {
  return isJsonObject(item) && !item.has('b64');
}

/** Converts a value to a tensor if its datatype is known. Otherwise it is converted when the model's metadata is known. */
function coerceValue(label: string, value: TensorValue, declared: TensorHints): TensorValue {
  return declared.datatype ? toTensor(label, value, declared) : value;
}

/** Creates a tensor from bytes: the only element of a BYTES tensor, else little-endian elements. */
function createTensorFromBytes(
  label: string,
  content: Uint8Array,
  { datatype = 'BYTES', shape }: TensorHints,
): TensorValue {
  if (datatype === 'BYTES') return { datatype, shape: shape ?? [1], data: [content] };
  const toMessage = (sizes: readonly number[]) => ({ name: '', datatype, shape: sizes.map(BigInt) });
  if (shape) return parseTensorMessage(label, toMessage(shape), content);
  const { bytes } = getDatatypeInfo(datatype);
  return parseTensorMessage(label, toMessage([Math.floor(content.length / bytes)]), content);
}
