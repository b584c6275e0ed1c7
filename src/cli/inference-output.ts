import { drained } from '../client/drained.js';
import { printable } from '../core/printable.js';
import type { InferenceAnswer, Tensor } from '../wire/inference-data.js';
import { type Json, jsonText } from '../wire/json.js';
import { jsonFromParameter } from '../wire/parameters.js';
import { jsonFromTensor, textsFromTensor } from '../wire/tensor-json.js';
import { specText } from '../wire/tensor-spec.js';
import { textOutput, textReader } from '../wire/text-answer.js';
import type { CommandIo } from './command.js';
import { textFor } from './output.js';
import { tableText } from './table.js';

/** How many elements of a tensor a table shows; JSON shows all. */
const MAX_SHOWN = 20;

/** An answer as people read it: texts as they are, a line each, other tensors as a table. */
export function answerText(answer: InferenceAnswer, io: CommandIo): string {
  const name = textOutput(answer.outputs);
  if (name === undefined) return outputsTable(answer, io);
  const texts = textsFromTensor(answer.outputs[name] as Tensor);
  return texts.map((text) => textFor(io.stdout, text.endsWith('\n') ? text : `${text}\n`)).join('');
}

/** JSON as a line of output. */
export function jsonLine(json: Json): string {
  return `${printable(jsonText(json))}\n`;
}

/** Prints the parts of an answer as they come, as JSON a line each; else texts run on, as they would in one. */
export function answerWriter(json: boolean, io: CommandIo) {
  const { stdout, unread } = io;
  const read = textReader();
  const texts = textWriter(io);
  const print = async (line: string): Promise<void> => {
    texts.end();
    if (!stdout.write(line)) await drained(stdout, unread);
  };
  return {
    async part(part: InferenceAnswer): Promise<void> {
      if (json) return print(jsonLine(jsonFromAnswer(part)));
      const text = read(part);
      if (text !== undefined) return texts.write(text);
      if (Object.keys(part.outputs).length > 0) await print(outputsTable(part, io));
    },
    end: texts.end,
  };
}

/** Prints a text in pieces; `end` ends its last line, also that of an empty text. */
export function textWriter({ stdout, unread }: CommandIo) {
  let isLineOpen: boolean | undefined;
  return {
    async write(piece: string): Promise<void> {
      isLineOpen = piece === '' ? (isLineOpen ?? true) : !piece.endsWith('\n');
      if (!stdout.write(textFor(stdout, piece))) await drained(stdout, unread);
    },
    end(): void {
      if (isLineOpen) stdout.write('\n');
      isLineOpen = undefined;
    },
  };
}

function outputsTable({ outputs }: InferenceAnswer, io: CommandIo): string {
  const rows = Object.entries(outputs).map(([name, tensor]) => [name, specText(tensor), elementsText(tensor)]);
  return tableText(['OUTPUT', 'DATATYPE', 'DATA'], rows, io);
}

function elementsText(tensor: Tensor): string {
  const { datatype, data } = tensor;
  const all =
    datatype === 'BYTES'
      ? textsFromTensor(tensor).map((text) => JSON.stringify(text))
      : Array.from(data as ArrayLike<number>, String);
  const shown = all.slice(0, MAX_SHOWN).join(', ');
  return all.length > MAX_SHOWN ? `${shown}, ... (${all.length} in all; --json prints them)` : shown;
}

/** An answer in the form of the protocol's REST side. */
export function jsonFromAnswer({ model, version, id, outputs, parameters }: InferenceAnswer): Map<string, Json> {
  const json = new Map<string, Json>([['model_name', model]]);
  if (version) json.set('model_version', version);
  if (id) json.set('id', id);
  const named = Object.entries(parameters);
  if (named.length > 0) json.set('parameters', new Map(named.map(([name, value]) => [name, jsonFromParameter(value)])));
  json.set(
    'outputs',
    Object.entries(outputs).map(([name, tensor]) => jsonFromTensor(name, tensor)),
  );
  return json;
}
