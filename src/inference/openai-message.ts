import { AnyserveError } from '../core/errors.js';
import { HandlerResponse, type Parameters } from './inference-data.js';
import type { UntrustedJson } from './openai-errors.js';
import { ToolCalls } from './openai-tool-calls.js';
import { toEndParameters } from './text-contract.js';

/** Fields of a message that are read, or that have no information. */
const KNOWN_FIELDS: ReadonlySet<string> = new Set([
  'role',
  'name',
  'content',
  'refusal',
  'reasoning',
  'reasoning_content',
  'tool_calls',
]);

/** Fields of a message with content that the text contract has no output for. */
const UNSUPPORTED_FIELDS: ReadonlySet<string> = new Set(['audio', 'images', 'videos', 'function_call']);

/** Fields of a choice that are read, or that repeat other fields. */
const KNOWN_CHOICE_FIELDS: ReadonlySet<string> = new Set([
  'index',
  'message',
  'delta',
  'finish_reason',
  'native_finish_reason',
  'stop_reason',
  'matched_stop',
  'error',
]);

/** Texts that a message, or a delta of one, adds to the outputs of the text contract. */
export interface TextOutputs {
  readonly text: string;
  readonly reasoning: string;
}

/** Builds the outputs of the text contract from the one choice of a chat response, which arrives whole or in deltas. */
export class ChatResponseBuilder {
  readonly #joinText = createSurrogateJoiner();
  readonly #joinReasoning = createSurrogateJoiner();
  readonly #toolCalls = new ToolCalls();
  readonly #omittedFields = new Set<string>();
  #finishReason: unknown;
  #usage: UntrustedJson;
  #hasChoice = false;

  /** Whether any choice with a message has arrived. */
  get hasChoice(): boolean {
    return this.#hasChoice;
  }

  /**
   * Adds a response, or an event of a stream, and returns the texts that it adds. Throws `internal` for several choices,
   * and `unimplemented` for content that the text contract has no output for.
   */
  add({ choices, usage }: UntrustedJson): TextOutputs {
    this.#usage = usage ?? this.#usage;
    const outputs = { text: '', reasoning: '' };
    for (const choice of Array.isArray(choices) ? choices : []) {
      if (!choice) continue;
      // A server that can't stream sends a whole message.
      const message = choice.delta ?? choice.message;
      if (Number(choice.index ?? 0) !== 0 || (choice.message && choices.length > 1)) {
        throw new AnyserveError('internal', 'its response has several choices, but one was requested');
      }
      this.#hasChoice ||= typeof message === 'object';
      this.#finishReason = choice.finish_reason || this.#finishReason;
      this.#checkFields(choice, KNOWN_CHOICE_FIELDS);
      if (!message) continue;
      this.#checkFields(message, KNOWN_FIELDS);
      this.#toolCalls.add(message.tool_calls);
      const content = readContent(message.content);
      outputs.text += this.#joinText(content.text + readText(message.refusal));
      const reasoning = readText(message.reasoning_content) || readText(message.reasoning);
      outputs.reasoning += this.#joinReasoning(reasoning + content.reasoning);
    }
    return outputs;
  }

  /** Returns the last message of the response: the rest of its texts after `before`, its tool calls, and how it ended. */
  end(earlierTexts: TextOutputs = { text: '', reasoning: '' }): HandlerResponse {
    if (this.#finishReason === 'error') throw new AnyserveError('internal', 'its response ended with an error');
    const text = earlierTexts.text + this.#joinText.end();
    const reasoning = earlierTexts.reasoning + this.#joinReasoning.end();
    const toolCalls = this.#toolCalls.toJson();
    const outputs = {
      text: [text],
      ...(reasoning !== '' && { reasoning: [reasoning] }),
      ...(toolCalls !== undefined && { tool_calls: [toolCalls] }),
    };
    const omitted = this.#omittedFields.size > 0 && { left_out: [...this.#omittedFields].join(',') };
    return new HandlerResponse(outputs, { ...readEndParameters(this.#finishReason, this.#usage), ...omitted });
  }

  /** Records the names of unknown fields, at most 16. Throws `unimplemented` for a field with unsupported content. */
  #checkFields(object: UntrustedJson, knownFields: ReadonlySet<string>): void {
    for (const [name, value] of Object.entries(object)) {
      if (knownFields.has(name) || isEmpty(value)) continue;
      if (UNSUPPORTED_FIELDS.has(name)) throw createUnsupportedError(name);
      if (this.#omittedFields.size < 16) this.#omittedFields.add(name.slice(0, 64));
    }
  }
}

/** Returns whether a value has no information. Engines send most fields even if they have no value for them. */
function isEmpty(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function readText(value: UntrustedJson): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  throw new AnyserveError('internal', 'a text in its response is not a string');
}

/** Returns the texts of a message's content, which is a string or an array of parts. Throws `unimplemented` for other parts. */
function readContent(content: UntrustedJson): TextOutputs {
  if (!Array.isArray(content)) return { text: readText(content), reasoning: '' };
  const outputs = { text: '', reasoning: '' };
  for (const part of content) {
    if (typeof part === 'string') outputs.text += part;
    else if (part?.type === 'text' || part?.type === 'output_text') outputs.text += readText(part.text);
    else if (part?.type === 'refusal') outputs.text += readText(part.refusal);
    else if (part?.type === 'thinking' || part?.type === 'reasoning') {
      outputs.reasoning += readContent(part.thinking ?? part.reasoning ?? part.text).text;
    } else throw createUnsupportedError(String(part?.type));
  }
  return outputs;
}

function createUnsupportedError(name: string): AnyserveError {
  const quoted = JSON.stringify(name.slice(0, 64));
  return new AnyserveError('unimplemented', `its response has ${quoted}, which no output of a worker can carry`);
}

/**
 * Creates a function that makes each piece of a text end with a whole character. The first half of a surrogate pair is held
 * back until the next piece. `end` returns a half that is still held back as U+FFFD.
 */
export function createSurrogateJoiner() {
  let pendingSurrogate = '';
  const join = (piece: string): string => {
    if (piece === '') return '';
    const text = pendingSurrogate + piece;
    pendingSurrogate = /[\ud800-\udbff]$/.exec(text.slice(-1))?.[0] ?? '';
    return text.slice(0, text.length - pendingSurrogate.length).toWellFormed();
  };
  return Object.assign(join, { end: () => pendingSurrogate.toWellFormed() });
}

/** Returns the finish reason and the token counts that the server reports. */
export function readEndParameters(finishReason: unknown, usage: UntrustedJson): Parameters {
  const toCount = (value: unknown): number | undefined => (Number.isSafeInteger(value) ? (value as number) : undefined);
  return toEndParameters({
    finishReason: typeof finishReason === 'string' ? finishReason : undefined,
    promptTokens: toCount(usage?.prompt_tokens),
    completionTokens: toCount(usage?.completion_tokens),
    totalTokens: toCount(usage?.total_tokens),
  });
}
