import type { ResponseEnd, TextPiece } from './text-message-reader.js';
import type { Usage } from './usage.js';

/** Members that all events of a response have. */
export interface ResponseHead {
  readonly id: string;
  /** Time in seconds since 1970. */
  readonly created: number;
  /** The model, as the caller named it. */
  readonly model: string;
}

/** The JSON of one path of OpenAI's API. */
export interface TextFormat {
  readonly idPrefix: string;
  /** Creates a response in one piece. */
  createResponse(head: ResponseHead, piece: TextPiece, end: ResponseEnd): object;
  /** Creates the events before the first piece of a stream. */
  createOpeningEvents(head: ResponseHead): readonly object[];
  /** Creates the events for a piece. `toolCallCount` is the number of tool calls before it. */
  createEvents(head: ResponseHead, piece: TextPiece, toolCallCount: number): readonly object[];
  createFinalEvent(head: ResponseHead, finishReason: string): object;
  createUsageEvent(head: ResponseHead, usage: Usage): object;
}

const CHUNK = 'chat.completion.chunk';

/** The format of `/chat/completions`. Reasoning has the name that vLLM, SGLang, llama.cpp and DeepSeek use. */
export const CHAT_FORMAT: TextFormat = {
  idPrefix: 'chatcmpl-',
  createResponse({ id, created, model }, { text, reasoning, toolCalls }, { finishReason, usage }) {
    const message = {
      role: 'assistant',
      content: text === '' && toolCalls.length > 0 ? null : text,
      refusal: null,
      ...(reasoning !== '' && { reasoning_content: reasoning }),
      ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
    };
    const choices = [{ index: 0, message, logprobs: null, finish_reason: finishReason }];
    return { id, object: 'chat.completion', created, model, choices, ...(usage && { usage }) };
  },
  createOpeningEvents: (head) => [createChatEvent(head, { role: 'assistant', content: '' }, null)],
  createEvents(head, { text, reasoning, toolCalls }, toolCallCount) {
    const deltas: object[] = [];
    if (reasoning !== '') deltas.push({ reasoning_content: reasoning });
    if (text !== '') deltas.push({ content: text });
    for (const [index, call] of toolCalls.entries())
      deltas.push({ tool_calls: [{ index: toolCallCount + index, ...call }] });
    return deltas.map((delta) => createChatEvent(head, delta, null));
  },
  createFinalEvent: (head, finishReason) => createChatEvent(head, {}, finishReason),
  createUsageEvent: ({ id, created, model }, usage) => ({ id, object: CHUNK, created, model, choices: [], usage }),
};

function createChatEvent({ id, created, model }: ResponseHead, delta: object, finishReason: string | null): object {
  const choices = [{ index: 0, delta, logprobs: null, finish_reason: finishReason }];
  return { id, object: CHUNK, created, model, choices };
}

/** The format of `/completions`. OpenAI's API has no place for reasoning here, so it has the same name as in a chat. */
export const COMPLETION_FORMAT: TextFormat = {
  idPrefix: 'cmpl-',
  createResponse: (head, { text, reasoning }, { finishReason, usage }) => ({
    ...createCompletion(head, { text, ...(reasoning !== '' && { reasoning_content: reasoning }) }, finishReason),
    ...(usage && { usage }),
  }),
  createOpeningEvents: () => [],
  createEvents: (head, { text, reasoning }) =>
    text === '' && reasoning === ''
      ? []
      : [createCompletion(head, { text, ...(reasoning !== '' && { reasoning_content: reasoning }) }, null)],
  createFinalEvent: (head, finishReason) => createCompletion(head, { text: '' }, finishReason),
  createUsageEvent: ({ id, created, model }, usage) => ({
    id,
    object: 'text_completion',
    created,
    model,
    choices: [],
    usage,
  }),
};

function createCompletion({ id, created, model }: ResponseHead, content: object, finishReason: string | null): object {
  const choices = [{ index: 0, ...content, logprobs: null, finish_reason: finishReason }];
  return { id, object: 'text_completion', created, model, choices };
}
