import { concatTensors } from './concat-tensors.js';
import type { InferenceResponse, Tensor, Tensors } from './inference-data.js';
import { mergeParameters } from './parameters.js';

/** The names that texts go by: ours, and that of Triton's backends for language models. */
const TEXT_NAMES = ['text', 'text_output'];

/** Outputs beside the text that arrive in pieces as it does. */
const TEXTS_BESIDE = ['reasoning'];

/** The name of the output that is an answer's text: the BYTES output called so, else the only output if it is BYTES. */
export function findTextOutput(outputs: Tensors): string | undefined {
  const called = TEXT_NAMES.find((name) => outputs[name]?.datatype === 'BYTES');
  if (called !== undefined) return called;
  const [only, ...others] = Object.entries(outputs);
  const isText = only?.[1].datatype === 'BYTES' && others.length === 0 && !TEXTS_BESIDE.includes(only[0]);
  return isText ? only[0] : undefined;
}

/**
 * Reads the text of an answer that comes in parts: each call gives what the part adds, undefined when it has no text. A
 * character may be split between two parts; bytes that are no UTF-8 become U+FFFD.
 */
export function createTextReader(nameOf = findTextOutput): (part: InferenceResponse) => string | undefined {
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  return ({ outputs }) => {
    const name = nameOf(outputs);
    if (name === undefined) return undefined;
    return elementsOf(outputs[name])
      .map((bytes) => utf8.decode(bytes, { stream: true }))
      .join('');
  };
}

/** The name of the output with a model's thinking, which comes before its answer; undefined where there is none. */
export function findReasoningOutput(outputs: Tensors): string | undefined {
  return outputs['reasoning']?.datatype === 'BYTES' ? 'reasoning' : undefined;
}

/**
 * Joins the parts of a written text to one answer: the text, and the reasoning before it, in one element each, other
 * outputs along their first dimension, and of a parameter that comes several times the last. Throws `internal` where
 * parts don't fit.
 */
export function concatTextResponses(parts: readonly [InferenceResponse, ...InferenceResponse[]]): InferenceResponse {
  const [first] = parts;
  const outputs: Record<string, Tensor> = Object.assign(
    Object.create(null),
    concatTensors(parts.map((part) => part.outputs)),
  );
  const name = parts.map((part) => findTextOutput(part.outputs)).find((found) => found !== undefined);
  for (const text of name === undefined ? [] : [name, ...TEXTS_BESIDE]) {
    const tensor = outputs[text];
    const isInPieces = tensor?.datatype === 'BYTES' && tensor.data.length !== 1;
    if (isInPieces) outputs[text] = { datatype: 'BYTES', shape: [1], data: [Buffer.concat(elementsOf(tensor))] };
  }
  return { ...first, outputs, parameters: mergeParameters(parts) };
}

function elementsOf(tensor: Tensor | undefined): readonly Uint8Array[] {
  return (tensor?.data ?? []) as readonly Uint8Array[];
}
