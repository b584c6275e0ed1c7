import { AnyserveError } from '../../core/errors.js';
import { quoteList } from '../../core/quoting.js';
import type { InferenceResponse, Parameters } from '../../inference/inference-data.js';
import { tensorToTexts } from '../../inference/tensor-json.js';
import { createTextReader, findReasoningOutput } from '../../inference/text-response.js';
import { readUsage, type Usage } from './usage.js';

/** Texts and tool calls that one message adds to a response. */
export interface TextPiece {
  readonly text: string;
  readonly reasoning: string;
  /** Tool calls in OpenAI's form, each complete. */
  readonly toolCalls: readonly object[];
}

/** Finish reason and token counts of a response. */
export interface ResponseEnd {
  readonly finishReason: string;
  readonly usage: Usage | undefined;
}

/** Reads the messages of a text response, of which a whole response is the only one. */
export class TextMessageReader {
  readonly #readText = createTextReader();
  readonly #readReasoning = createTextReader(findReasoningOutput);
  #parameters: Parameters = {};
  #hasText = false;
  #hasToolCalls = false;

  /** Reads a message. Throws `internal` for a message with outputs of which none is a text. */
  read(message: InferenceResponse): TextPiece {
    const { outputs, parameters } = message;
    const toolCalls = outputs['tool_calls'] ? parseToolCalls(tensorToTexts(outputs['tool_calls']).join('')) : [];
    const [text, reasoning] = [this.#readText(message), this.#readReasoning(message)];
    const isText = text !== undefined || reasoning !== undefined || toolCalls.length > 0;
    const names = Object.keys(outputs);
    if (!isText && names.length > 0) throw createNoTextError(quoteList(names));
    this.#hasText ||= isText;
    this.#hasToolCalls ||= toolCalls.length > 0;
    this.#parameters = { ...this.#parameters, ...parameters };
    return { text: text ?? '', reasoning: reasoning ?? '', toolCalls };
  }

  /** Returns how the response ended. Throws `internal` if no message had a text. */
  end(): ResponseEnd {
    if (!this.#hasText) throw createNoTextError('none');
    const { finish_reason: reason } = this.#parameters;
    const defaultReason = this.#hasToolCalls ? 'tool_calls' : 'stop';
    return {
      finishReason: typeof reason === 'string' && reason !== '' ? reason : defaultReason,
      usage: readUsage(this.#parameters),
    };
  }
}

function parseToolCalls(json: string): readonly object[] {
  if (json === '') return [];
  try {
    const calls: unknown = JSON.parse(json);
    if (Array.isArray(calls) && calls.every((call) => typeof call === 'object' && call !== null)) return calls;
  } catch {}
  throw new AnyserveError('internal', 'the output "tool_calls" of the replica is not a JSON list of tool calls');
}

function createNoTextError(outputs: string): AnyserveError {
  return new AnyserveError('internal', `the replica returned no text; its outputs: ${outputs}`);
}
