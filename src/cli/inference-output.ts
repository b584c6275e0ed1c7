import { waitForDrain } from '../client/async-waits.js';
import { escapeControls } from '../core/control-characters.js';
import type { InferenceResponse, Tensor } from '../inference/inference-data.js';
import { parameterToJson } from '../inference/parameters.js';
import { tensorToJson, tensorToTexts } from '../inference/tensor-json.js';
import { formatTensorSpec } from '../inference/tensor-spec.js';
import { createTextReader, findTextOutput } from '../inference/text-response.js';
import { type Json, serializeJson } from '../json/exact-json.js';
import type { CommandIo } from './command.js';
import { escapeForStream } from './output.js';
import { formatTable } from './table.js';
import { createThinkingWriter } from './thinking-writer.js';

/** How many elements of a tensor a table shows; JSON shows all. */
const MAX_SHOWN = 20;

/** Outputs of the text contract that are shown with a text, and not in a table. */
const SHOWN_WITH_TEXT: ReadonlySet<string> = new Set(['reasoning', 'tool_calls']);

/** An answer as people read it: texts as they are and tool calls, a line each; other tensors as a table. */
export function formatResponse(answer: InferenceResponse, io: CommandIo): string {
  const name = findTextOutput(answer.outputs);
  const calls = toolCallLines(answer);
  if (name === undefined) return calls + (hasOthers(answer) ? outputsTable(answer, io) : '');
  const texts = tensorToTexts(answer.outputs[name] as Tensor);
  // An answer that is tool calls alone has an empty text.
  const shown = calls === '' ? texts : texts.filter((text) => text !== '');
  return shown.map((text) => escapeForStream(io.stdout, text.endsWith('\n') ? text : `${text}\n`)).join('') + calls;
}

function hasOthers({ outputs }: InferenceResponse): boolean {
  return Object.keys(outputs).some((name) => !SHOWN_WITH_TEXT.has(name));
}

/** The tool calls of an answer, each as a line `tool call: NAME ARGUMENTS`; those in another form than OpenAI's as they are. */
function toolCallLines({ outputs }: InferenceResponse): string {
  const tensor = outputs['tool_calls'];
  if (tensor?.datatype !== 'BYTES') return '';
  return tensorToTexts(tensor)
    .flatMap(toolCallsFromText)
    .map((call) => `tool call: ${escapeControls(call)}\n`)
    .join('');
}

function toolCallsFromText(text: string): string[] {
  try {
    const calls: unknown = JSON.parse(text);
    return (Array.isArray(calls) ? calls : [calls]).map((call) => {
      const { name, arguments: given } = call.function ?? call;
      return typeof name === 'string' && typeof given === 'string' ? `${name} ${given}` : JSON.stringify(call);
    });
  } catch {
    return [text];
  }
}

/** JSON as a line of output. */
export function formatJsonLine(json: Json): string {
  return `${escapeControls(serializeJson(json))}\n`;
}

/**
 * Prints the parts of an answer as they come: as JSON, a line each; else texts run on as in one, tool calls are a line each,
 * and other tensors are a table. Reasoning is shown at a terminal only.
 */
export function createResponseWriter(json: boolean, io: CommandIo) {
  const { stdout, stdoutClosed } = io;
  const read = createTextReader();
  const texts = createTextWriter(io);
  const thinking = createThinkingWriter(io);
  const print = async (line: string): Promise<void> => {
    thinking.end();
    texts.end();
    if (!stdout.write(line)) await waitForDrain(stdout, stdoutClosed);
  };
  return {
    async part(part: InferenceResponse): Promise<void> {
      if (json) return print(formatJsonLine(responseToJson(part)));
      await thinking.write(part);
      const text = read(part);
      const calls = toolCallLines(part);
      if (text !== undefined && (text !== '' || calls === '')) {
        if (text !== '') thinking.end();
        await texts.write(text);
      }
      if (calls !== '') await print(calls);
      if (text === undefined && hasOthers(part)) await print(outputsTable(part, io));
    },
    end(): void {
      thinking.end();
      texts.end();
    },
  };
}

/** Prints a text in pieces; `end` ends its last line, also that of an empty text. */
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

function outputsTable({ outputs }: InferenceResponse, io: CommandIo): string {
  const rows = Object.entries(outputs).map(([name, tensor]) => [name, formatTensorSpec(tensor), elementsText(tensor)]);
  return formatTable(['OUTPUT', 'DATATYPE', 'DATA'], rows, io);
}

function elementsText(tensor: Tensor): string {
  const { datatype, data } = tensor;
  const all =
    datatype === 'BYTES'
      ? tensorToTexts(tensor).map((text) => JSON.stringify(text))
      : Array.from(data as ArrayLike<number>, String);
  const shown = all.slice(0, MAX_SHOWN).join(', ');
  return all.length > MAX_SHOWN ? `${shown}, ... (${all.length} in all; --json prints them)` : shown;
}

/** An answer in the form of the protocol's REST side. */
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
