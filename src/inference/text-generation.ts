import { AnyserveError } from '../core/errors.js';
import { isJsonObject, type Json, type JsonObject, JsonSyntaxError, parseJson } from '../json/exact-json.js';
import { HandlerResponse, type HandlerResult } from './handler-result.js';
import type { ParameterValue, Tensors } from './inference-data.js';
import type { TensorSpec } from './tensor-spec.js';

/** What a model that writes texts takes: a prompt, or the messages of a chat as JSON. */
export const TEXT_INPUTS: readonly TensorSpec[] = [
  { name: 'prompt', datatype: 'BYTES', shape: [1], optional: true },
  { name: 'messages', datatype: 'BYTES', shape: [1], optional: true },
];

/** What a model that writes texts gives. */
export const TEXT_OUTPUTS: readonly TensorSpec[] = [{ name: 'text', datatype: 'BYTES', shape: [1] }];

/** One turn of a chat: a text `role`, and `content` that is a text, an array of parts, or nothing. Other keys are kept. */
export type ChatMessage = JsonObject;

/**
 * The messages of a request, from its `messages` or as the one message that its `prompt` is. They are as the caller
 * wrote them, numbers and unknown keys included, and can be handed on. Throws `invalid_argument` that names the input.
 */
export function readMessages(inputs: Tensors): readonly ChatMessage[] {
  const [prompt, messages] = [readTextInput(inputs, 'prompt'), readTextInput(inputs, 'messages')];
  if ((prompt === undefined) === (messages === undefined)) {
    const given = prompt === undefined ? 'neither is given' : 'both are given';
    throw new AnyserveError('invalid_argument', `give input "prompt" or input "messages", one of them; ${given}`);
  }
  if (messages !== undefined) return messagesFromText(messages);
  return [
    new Map<string, Json>([
      ['role', 'user'],
      ['content', prompt as string],
    ]),
  ];
}

/** The one text of a BYTES input; undefined when it is not given. Throws `invalid_argument` for bytes that are no UTF-8. */
export function readTextInput(inputs: Tensors, name: string): string | undefined {
  const bytes = inputs[name]?.data[0];
  if (bytes === undefined) return undefined;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes as Uint8Array);
  } catch {
    throw invalid(name, 'its bytes are no UTF-8');
  }
}

/** How a text came to its end; what is not known is left out. */
export interface TextEnd {
  /** `stop` for an end of the model's own or a stop text, `length` for one that was cut, or an upstream's word. */
  readonly finishReason?: string | undefined;
  readonly promptTokens?: number | undefined;
  readonly completionTokens?: number | undefined;
  readonly totalTokens?: number | undefined;
}

/**
 * The answer that a text is: in its pieces to a caller that takes them, else whole. The last part says how the text
 * ended; to a caller that took the pieces its own text is empty.
 */
export async function* createTextResponse(
  pieces: AsyncGenerator<string, TextEnd, void>,
  streaming: boolean,
): AsyncGenerator<HandlerResult> {
  let whole = '';
  try {
    let step = await pieces.next();
    for (; !step.done; step = await pieces.next()) {
      if (streaming) yield { text: [step.value] };
      else whole += step.value;
    }
    yield new HandlerResponse({ text: [whole] }, toEndParameters(step.value));
  } finally {
    // A caller that goes in the middle ends the writing, too.
    await pieces.return({});
  }
}

/** How a text ended, as the parameters of an answer. */
export function toEndParameters(end: TextEnd): Readonly<Record<string, ParameterValue>> {
  const named: [string, ParameterValue | undefined][] = [
    ['finish_reason', end.finishReason],
    ['prompt_tokens', end.promptTokens],
    ['completion_tokens', end.completionTokens],
    ['total_tokens', end.totalTokens],
  ];
  return Object.fromEntries(named.filter((entry): entry is [string, ParameterValue] => entry[1] !== undefined));
}

function messagesFromText(text: string): readonly ChatMessage[] {
  const messages = jsonFromText(text);
  if (!Array.isArray(messages) || messages.length === 0) {
    throw invalid('messages', 'is no JSON array of messages, such as [{"role":"user","content":"Hello"}]');
  }
  for (const [at, message] of messages.entries()) checkMessage(message, at);
  return messages as readonly ChatMessage[];
}

function jsonFromText(text: string): Json {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw invalid('messages', `not JSON at character ${error.position}: ${error.message}`);
  }
}

function checkMessage(message: Json, at: number): void {
  if (!isJsonObject(message)) throw invalid('messages', `message ${at} is no object`);
  if (typeof message.get('role') !== 'string') throw invalid('messages', `message ${at} has no "role" that is a text`);
  const content = message.get('content') ?? null;
  if (content !== null && typeof content !== 'string' && !Array.isArray(content)) {
    throw invalid('messages', `message ${at} has a "content" that is neither a text nor an array of parts`);
  }
}

function invalid(input: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `input ${JSON.stringify(input)}: ${problem}`);
}
