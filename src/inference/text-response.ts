import { concatTensors } from './concat-tensors.js';
import type { InferenceResponse, Tensor, Tensors } from './inference-data.js';
import { mergeParameters } from './parameters.js';

/** Names of the text output: ours, and the one of Triton's backends for language models. */
const TEXT_OUTPUT_NAMES = ['text', 'text_output'];

/** Further outputs that arrive in pieces, as the text does. */
const OTHER_TEXT_OUTPUTS = ['reasoning'];

/** Returns the name of the output that is the text: a BYTES output with such a name, or else the only output if it is BYTES. */
export function findTextOutput(outputs: Tensors): string | undefined {
  const known = TEXT_OUTPUT_NAMES.find((name) => outputs[name]?.datatype === 'BYTES');
  if (known !== undefined) return known;
  const [only, ...others] = Object.entries(outputs);
  const isText = only?.[1].datatype === 'BYTES' && others.length === 0 && !OTHER_TEXT_OUTPUTS.includes(only[0]);
  return isText ? only[0] : undefined;
}

/**
 * Creates a reader of the text of a streamed response. Each call returns the text of one message, or undefined if it has
 * none. A character can be split between two messages. Invalid UTF-8 becomes U+FFFD.
 */
export function createTextReader(findOutput = findTextOutput): (message: InferenceResponse) => string | undefined {
  const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
  return ({ outputs }) => {
    const name = findOutput(outputs);
    if (name === undefined) return undefined;
    return getByteStrings(outputs[name])
      .map((bytes) => utf8.decode(bytes, { stream: true }))
      .join('');
  };
}

/** Returns the name of the output with the model's reasoning, which precedes its text. Undefined if there is none. */
export function findReasoningOutput(outputs: Tensors): string | undefined {
  return outputs['reasoning']?.datatype === 'BYTES' ? 'reasoning' : undefined;
}

/**
 * Merges the messages of a streamed text into one response. The text and the reasoning become one element each, other outputs
 * are concatenated along their first dimension, and the last value of a parameter wins. Throws `internal` if the messages
 * don't fit together.
 */
export function concatTextResponses(messages: readonly [InferenceResponse, ...InferenceResponse[]]): InferenceResponse {
  const [first] = messages;
  const outputs: Record<string, Tensor> = Object.assign(
    Object.create(null),
    concatTensors(messages.map((message) => message.outputs)),
  );
  const name = messages.map((message) => findTextOutput(message.outputs)).find((found) => found !== undefined);
  for (const text of name === undefined ? [] : [name, ...OTHER_TEXT_OUTPUTS]) {
    const tensor = outputs[text];
    const isInPieces = tensor?.datatype === 'BYTES' && tensor.data.length !== 1;
    if (isInPieces) outputs[text] = { datatype: 'BYTES', shape: [1], data: [Buffer.concat(getByteStrings(tensor))] };
  }
  return { ...first, outputs, parameters: mergeParameters(messages) };
}

function getByteStrings(tensor: Tensor | undefined): readonly Uint8Array[] {
  return (tensor?.data ?? []) as readonly Uint8Array[];
}
