import type { ChalkInstance } from 'chalk';
import { drained } from '../client/drained.js';
import type { InferenceAnswer } from '../wire/inference.js';
import { type Json, jsonText } from '../wire/json.js';
import { jsonFromParameter } from '../wire/parameters.js';
import type { Tensor } from '../wire/tensor.js';
import { jsonFromTensor, textsFromTensor } from '../wire/tensor-json.js';
import { specText } from '../wire/tensor-spec.js';
import type { CommandIo } from './command.js';
import { coloursFor, printable, tableText } from './output.js';

/** How many elements of a tensor a table shows; JSON shows all. */
const MAX_SHOWN = 20;

/** An answer as it is printed: JSON in the form of the protocol's REST side, a text as it is, other tensors as a table. */
export function answerText(answer: InferenceAnswer, json: boolean, colours: ChalkInstance): string {
  if (json) return `${printable(jsonText(jsonFromAnswer(answer)))}\n`;
  const texts = onlyTexts(answer);
  if (texts) return texts.map((text) => (text.endsWith('\n') ? text : `${text}\n`)).join('');
  const rows = Object.entries(answer.outputs).map(([name, tensor]) => [name, specText(tensor), elementsText(tensor)]);
  return tableText(['OUTPUT', 'DATATYPE', 'DATA'], rows, colours);
}

/** Prints the parts of an answer as they come; texts run on, as they would in one. */
export function answerWriter(json: boolean, { stdout, env, unread }: CommandIo) {
  let lastText = '\n';
  return {
    async part(part: InferenceAnswer): Promise<void> {
      const texts = json ? undefined : onlyTexts(part);
      const text = texts ? texts.join('') : answerText(part, json, coloursFor(stdout, env));
      if (text !== '') lastText = text;
      if (!stdout.write(text)) await drained(stdout, unread);
    },
    async end(): Promise<void> {
      if (!lastText.endsWith('\n')) stdout.write('\n');
    },
  };
}

/** The texts of an answer that consists of one BYTES output. */
function onlyTexts({ outputs }: InferenceAnswer): string[] | undefined {
  const [only, ...others] = Object.values(outputs);
  return only?.datatype === 'BYTES' && others.length === 0 ? textsFromTensor(only) : undefined;
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

function jsonFromAnswer({ model, version, id, outputs, parameters }: InferenceAnswer): Json {
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
