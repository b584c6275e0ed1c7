import { AnyserveError } from '../core/errors.js';
import { JsonSyntaxError, parseJson } from '../json/exact-json.js';
import { isJsonObject, type Json, type JsonObject } from '../json/json-value.js';
import { HandlerResponse, type HandlerResult, type ParameterValue, type Tensors } from './inference-data.js';
import { tensorToTexts } from './tensor-json.js';
import type { TensorSpec } from './tensor-spec.js';

/** Inputs of a text generation model: a prompt, or the messages of a chat as JSON. */
export const TEXT_INPUTS: readonly TensorSpec[] = [
  { name: 'prompt', datatype: 'BYTES', shape: [1], optional: true },
  { name: 'messages', datatype: 'BYTES', shape: [1], optional: true },
];

/** Outputs of a text generation model. */
export const TEXT_OUTPUTS: readonly TensorSpec[] = [{ name: 'text', datatype: 'BYTES', shape: [1] }];

/** The platform of models whose server has OpenAI's API. It gets parameters with the names that the caller used. */
export const OPENAI_PLATFORM = 'openai';

/** A message of a chat: `role` is a string, and `content` is a string, an array of parts, or absent. Other keys are kept. */
export type ChatMessage = JsonObject;

/**
 * Returns the messages of a request: its `messages`, or one user message with its `prompt`. They can be passed on, since
 * numbers and unknown keys are exactly as the caller wrote them. Throws `invalid_argument`, which names the input.
 */
export function readMessages(inputs: Tensors): readonly ChatMessage[] {
  const [prompt, messages] = [readTextInput(inputs, 'prompt'), readTextInput(inputs, 'messages')];
  if ((prompt === undefined) === (messages === undefined)) {
    const found = prompt === undefined ? 'neither' : 'both';
    throw new AnyserveError(
      'invalid_argument',
      `expected exactly one of the inputs "prompt" and "messages", got ${found}`,
    );
  }
  if (messages !== undefined) return parseMessages(messages);
  return [
    new Map<string, Json>([
      ['role', 'user'],
      ['content', prompt as string],
    ]),
  ];
}

/** Returns the single text of a BYTES input. Undefined if it is absent. Throws `invalid_argument` for invalid UTF-8. */
export function readTextInput(inputs: Tensors, name: string): string | undefined {
  const bytes = inputs[name]?.data[0];
  if (bytes === undefined) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes as Uint8Array);
  } catch {
    throw createError(name, 'its bytes are not valid UTF-8');
  }
}

/** Finish reason and token counts of a text, as far as they are known. */
export interface TextEnd {
  /** `stop` if the model ended the text or a stop sequence did, `length` if it was cut off, or an upstream's reason. */
  readonly finishReason?: string | undefined;
  readonly promptTokens?: number | undefined;
  readonly completionTokens?: number | undefined;
  readonly totalTokens?: number | undefined;
}

/**
 * Creates the response of a generated text. When streaming, each piece is a message, and the last message has an empty text.
 * Otherwise, the only message has the whole text. The last message has the finish reason and the token counts.
 */
export async function* createTextResponse(
  pieces: AsyncGenerator<string, TextEnd, void>,
  streaming: boolean,
): AsyncGenerator<HandlerResult> {
  let text = '';
  try {
    let result = await pieces.next();
    for (; !result.done; result = await pieces.next()) {
      if (streaming) yield { text: [result.value] };
      else text += result.value;
    }
    yield new HandlerResponse({ text: [text] }, toEndParameters(result.value));
  } finally {
    // If the caller stops early, the generation stops too.
    await pieces.return({});
  }
}

/** Returns the response parameters with the finish reason and the token counts. */
export function toEndParameters(end: TextEnd): Readonly<Record<string, ParameterValue>> {
  const candidates: [string, ParameterValue | undefined][] = [
    ['finish_reason', end.finishReason],
    ['prompt_tokens', end.promptTokens],
    ['completion_tokens', end.completionTokens],
    ['total_tokens', end.totalTokens],
  ];
  return Object.fromEntries(candidates.filter((entry): entry is [string, ParameterValue] => entry[1] !== undefined));
}

function parseMessages(text: string): readonly ChatMessage[] {
  const messages = parseMessagesJson(text);
  if (!Array.isArray(messages) || messages.length === 0) {
    throw createError('messages', 'must be a JSON array of messages such as [{"role":"user","content":"Hello"}]');
  }
  for (const [index, message] of messages.entries()) checkMessage(message, index);
  return messages as readonly ChatMessage[];
}

function parseMessagesJson(text: string): Json {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw createError('messages', `not JSON at character ${error.position}: ${error.message}`);
  }
}

function checkMessage(message: Json, index: number): void {
  if (!isJsonObject(message)) throw createError('messages', `message ${index} is not an object`);
  if (typeof message.get('role') !== 'string') throw createError('messages', `message ${index} has no string "role"`);
  const content = message.get('content') ?? null;
  if (content !== null && typeof content !== 'string' && !Array.isArray(content)) {
    throw createError('messages', `message ${index}: "content" must be a string or an array of parts`);
  }
}

function createError(input: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `input ${JSON.stringify(input)}: ${problem}`);
}

/** Inputs of an embedding model: the texts. */
export const EMBEDDING_INPUTS: readonly TensorSpec[] = [{ name: 'input', datatype: 'BYTES', shape: [-1] }];

/** Outputs of an embedding model: one vector per text, in the order of the texts. */
export const EMBEDDING_OUTPUTS: readonly TensorSpec[] = [{ name: 'embedding', datatype: 'FP32', shape: [-1, -1] }];

/** Returns the texts of a request to an embedding model. Throws `invalid_argument` if there are none. */
export function readEmbeddingTexts({ input }: Tensors): string[] {
  const texts = input ? tensorToTexts(input) : [];
  if (texts.length > 0) return texts;
  throw new AnyserveError('invalid_argument', 'input "input" has no text to embed');
}
