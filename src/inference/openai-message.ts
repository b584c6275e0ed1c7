import { AnyserveError } from '../core/errors.js';
import { HandlerResponse } from './handler-result.js';
import type { Parameters } from './inference-data.js';
import type { UntrustedJson } from './openai-errors.js';
import { ToolCalls } from './openai-tool-calls.js';
import { toEndParameters } from './text-generation.js';

/** Fields of a message that are read, or that say nothing of their own. */
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
const NOT_CARRIED: ReadonlySet<string> = new Set(['audio', 'images', 'videos', 'function_call']);

/** Fields of a choice that are read, or that repeat what others say. */
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

/** Texts that a message, or a piece of one, adds to the outputs of the text contract. */
export interface TextOutputs {
  readonly text: string;
  readonly reasoning: string;
}

/** One chat answer as the text contract has it, put together from its one choice, whole or in deltas. */
export class ChatResponseBuilder {
  readonly #wholeText = createSurrogateJoiner();
  readonly #wholeReasoning = createSurrogateJoiner();
  readonly #toolCalls = new ToolCalls();
  readonly #leftOut = new Set<string>();
  #finishReason: unknown;
  #usage: UntrustedJson;
  #hasChoice = false;

  /** Whether anything of an answer has come. */
  get hasChoice(): boolean {
    return this.#hasChoice;
  }

  /**
   * Takes an answer, or an event of a stream, and returns what it adds. Throws `internal` for several choices, and
   * `unimplemented` for content that the text contract has no output for.
   */
  add({ choices, usage }: UntrustedJson): TextOutputs {
    this.#usage = usage ?? this.#usage;
    const outputs = { text: '', reasoning: '' };
    for (const choice of Array.isArray(choices) ? choices : []) {
      if (!choice) continue;
      // A server that can't stream answers with a message.
      const message = choice.delta ?? choice.message;
      if (Number(choice.index ?? 0) !== 0 || (choice.message && choices.length > 1)) {
        throw new AnyserveError('internal', 'its answer has several choices, and one was asked for');
      }
      this.#hasChoice ||= typeof message === 'object';
      this.#finishReason = choice.finish_reason || this.#finishReason;
      this.#note(choice, KNOWN_CHOICE_FIELDS);
      if (!message) continue;
      this.#note(message, KNOWN_FIELDS);
      this.#toolCalls.add(message.tool_calls);
      const content = contentOf(message.content);
      outputs.text += this.#wholeText(content.text + textOf(message.refusal));
      const reasoning = textOf(message.reasoning_content) || textOf(message.reasoning);
      outputs.reasoning += this.#wholeReasoning(reasoning + content.reasoning);
    }
    return outputs;
  }

  /** Returns the last part of the answer: what is left of its texts after `before`, its tool calls, and how it ended. */
  end(before: TextOutputs = { text: '', reasoning: '' }): HandlerResponse {
    if (this.#finishReason === 'error') throw new AnyserveError('internal', 'its answer ended with an error');
    const text = before.text + this.#wholeText.end();
    const reasoning = before.reasoning + this.#wholeReasoning.end();
    const toolCalls = this.#toolCalls.json();
    const outputs = {
      text: [text],
      ...(reasoning !== '' && { reasoning: [reasoning] }),
      ...(toolCalls !== undefined && { tool_calls: [toolCalls] }),
    };
    const leftOut = this.#leftOut.size > 0 && { left_out: [...this.#leftOut].join(',') };
    return new HandlerResponse(outputs, { ...readEndParameters(this.#finishReason, this.#usage), ...leftOut });
  }

  #note(object: UntrustedJson, known: ReadonlySet<string>): void {
    for (const [name, value] of Object.entries(object)) {
      if (known.has(name) || isNothing(value)) continue;
      if (NOT_CARRIED.has(name)) throw notCarried(name);
      if (this.#leftOut.size < 16) this.#leftOut.add(name.slice(0, 64));
    }
  }
}

/** Whether a value says nothing: engines write most fields that they have no value for. */
function isNothing(value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function textOf(value: UntrustedJson): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  throw new AnyserveError('internal', 'a text of its answer is not a string');
}

/** The texts of a message's content: itself, or those of its parts. Throws `unimplemented` for parts of another kind. */
function contentOf(content: UntrustedJson): TextOutputs {
  if (!Array.isArray(content)) return { text: textOf(content), reasoning: '' };
  const outputs = { text: '', reasoning: '' };
  for (const part of content) {
    if (typeof part === 'string') outputs.text += part;
    else if (part?.type === 'text' || part?.type === 'output_text') outputs.text += textOf(part.text);
    else if (part?.type === 'refusal') outputs.text += textOf(part.refusal);
    else if (part?.type === 'thinking' || part?.type === 'reasoning') {
      outputs.reasoning += contentOf(part.thinking ?? part.reasoning ?? part.text).text;
    } else throw notCarried(String(part?.type));
  }
  return outputs;
}

function notCarried(name: string): AnyserveError {
  const shown = JSON.stringify(name.slice(0, 64));
  return new AnyserveError('unimplemented', `its answer has ${shown}, which no output of a worker can carry`);
}

/**
 * Makes pieces of a text end with a whole character: the first half of a surrogate pair waits for the other. `end` returns
 * what still waits, as U+FFFD, since no other half will come.
 */
export function createSurrogateJoiner() {
  let half = '';
  const whole = (piece: string): string => {
    if (piece === '') return '';
    const text = half + piece;
    half = /[\ud800-\udbff]$/.exec(text.slice(-1))?.[0] ?? '';
    return text.slice(0, text.length - half.length).toWellFormed();
  };
  return Object.assign(whole, { end: () => half.toWellFormed() });
}

/** How a text ended and what it took, as far as the server says. */
export function readEndParameters(finishReason: unknown, usage: UntrustedJson): Parameters {
  const count = (value: unknown): number | undefined => (Number.isSafeInteger(value) ? (value as number) : undefined);
  return toEndParameters({
    finishReason: typeof finishReason === 'string' ? finishReason : undefined,
    promptTokens: count(usage?.prompt_tokens),
    completionTokens: count(usage?.completion_tokens),
    totalTokens: count(usage?.total_tokens),
  });
}
