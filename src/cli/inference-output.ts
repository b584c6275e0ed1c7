import { waitForDrain } from '../client/async-waits.js';
import { escapeControls } from '../core/control-characters.js';
import type { InferenceResponse, Tensor } from '../inference/inference-data.js';
import { parameterToJson } from '../inference/parameters.js';
import { tensorToJson, tensorToTexts } from '../inference/tensor-json.js';
import { formatTensorSpec } from '../inference/tensor-spec.js';
import { createTextReader, findTextOutput } from '../inference/text-response.js';
import { type Json, serializeJson } from '../json/json-value.js';
import type { CommandIo } from './command.js';
import { escapeForStream } from './output.js';
import { formatTable } from './table.js';
import { createThinkingWriter } from './thinking-writer.js';

/** Maximum number of elements of a tensor in a table. JSON output has all. */
const MAX_TABLE_ELEMENTS = 20;

/** Outputs that are printed along with a text, and not in a table. */
const SHOWN_WITH_TEXT: ReadonlySet<string> = new Set(['reasoning', 'tool_calls']);

/** Formats a response for people: text as is, tool calls one per line, other tensors as a table. */
export function formatResponse(response: InferenceResponse, io: CommandIo): string {
  const name = findTextOutput(response.outputs);
  const calls = formatToolCalls(response);
  if (name === undefined) return calls + (hasTableOutputs(response) ? formatOutputsTable(response, io) : '');
  const texts = tensorToTexts(response.outputs[name] as Tensor);
  // A response that consists of tool calls has an empty text.
  const printed = calls === '' ? texts : texts.filter((text) => text !== '');
  return printed.map((text) => escapeForStream(io.stdout, text.endsWith('\n') ? text : `${text}\n`)).join('') + calls;
}

function hasTableOutputs({ outputs }: InferenceResponse): boolean {
  return Object.keys(outputs).some((name) => !SHOWN_WITH_TEXT.has(name));
}

/**
 * Formats the tool calls, each as a line `tool call: NAME ARGUMENTS`. Calls in a format other than OpenAI's are printed as
 * is.
 */
function formatToolCalls({ outputs }: InferenceResponse): string {
  const tensor = outputs['tool_calls'];
  if (tensor?.datatype !== 'BYTES') return '';
  return tensorToTexts(tensor)
    .flatMap(parseToolCalls)
    .map((call) => `tool call: ${escapeControls(call)}\n`)
    .join('');
}

function parseToolCalls(text: string): string[] {
  try {
    const calls: unknown = JSON.parse(text);
    return (Array.isArray(calls) ? calls : [calls]).map((call) => {
      const { name, arguments: args } = call.function ?? call;
      return typeof name === 'string' && typeof args === 'string' ? `${name} ${args}` : JSON.stringify(call);
    });
  } catch {
    return [text];
  }
}

/** Formats JSON as a line of output. */
export function formatJsonLine(json: Json): string {
  return `${escapeControls(serializeJson(json))}\n`;
}

/**
 * Creates a printer of streamed responses. With `json`, each message is a line of JSON. Otherwise texts are concatenated, tool
 * calls take a line each, and other tensors are tables. Reasoning is printed only at a terminal.
 */
export function createResponseWriter(json: boolean, io: CommandIo) {
  const { stdout, stdoutClosed } = io;
  const readText = createTextReader();
  const texts = createTextWriter(io);
  const thinking = createThinkingWriter(io);
  const print = async (line: string): Promise<void> => {
    thinking.end();
    texts.end();
    if (!stdout.write(line)) await waitForDrain(stdout, stdoutClosed);
  };
  return {
    async write(message: InferenceResponse): Promise<void> {
      if (json) return print(formatJsonLine(responseToJson(message)));
      await thinking.write(message);
      const text = readText(message);
      const calls = formatToolCalls(message);
      if (text !== undefined && (text !== '' || calls === '')) {
        if (text !== '') thinking.end();
        await texts.write(text);
      }
      if (calls !== '') await print(calls);
      if (text === undefined && hasTableOutputs(message)) await print(formatOutputsTable(message, io));
    },
    end(): void {
      thinking.end();
      texts.end();
    },
  };
}

/** Creates a printer of a text in pieces. `end` terminates the last line, even of an empty text. */
export function createTextWriter({ stdout, stdoutClosed }: CommandIo) {
  let isLineOpen: boolean | undefined;
  return {
    async write(piece: string): Promise<void> {
      isLineOpen = piece === '' ? (isLineOpen ?? true) : !piece.endsWith('\n');
      if (!stdout.write(escapeForStream(stdout, piece))) await waitForDrain(stdout, stdoutClosed);
    },
    end(): void {
      if (isLineOpen) stdout.write('\n');
      isLineOpen = undefined;
    },
  };
}

function formatOutputsTable({ outputs }: InferenceResponse, io: CommandIo): string {
  const rows = Object.entries(outputs).map(([name, tensor]) => [
    name,
    formatTensorSpec(tensor),
    formatElements(tensor),
  ]);
  return formatTable(['OUTPUT', 'DATATYPE', 'DATA'], rows, io);
}

function formatElements(tensor: Tensor): string {
  const { datatype, data } = tensor;
  const all =
    datatype === 'BYTES'
      ? tensorToTexts(tensor).map((text) => JSON.stringify(text))
      : Array.from(data as ArrayLike<number>, String);
  const firstElements = all.slice(0, MAX_TABLE_ELEMENTS).join(', ');
  return all.length > MAX_TABLE_ELEMENTS
    ? `${firstElements}, ... (${all.length} in total; use --json to print all)`
    : firstElements;
}

/** Converts a response to the REST format of the Open Inference Protocol. */
export function responseToJson({ model, version, id, outputs, parameters }: InferenceResponse): Map<string, Json> {
  const json = new Map<string, Json>([['model_name', model]]);
  if (version) json.set('model_version', version);
  if (id) json.set('id', id);
  const named = Object.entries(parameters);
  if (named.length > 0) json.set('parameters', new Map(named.map(([name, value]) => [name, parameterToJson(value)])));
  json.set(
    'outputs',
    Object.entries(outputs).map(([name, tensor]) => tensorToJson(name, tensor)),
  );
  return json;
}
