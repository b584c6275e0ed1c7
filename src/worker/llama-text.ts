import type { LlamaGrammarEvaluationState, LlamaModel, Token } from 'node-llama-cpp';
import type { TextEnd } from '../inference/text-contract.js';
import type { CachedSequence } from './llama-sequence-pool.js';
import type { Sampling } from './sampling.js';
import { StopSequences } from './stop-sequences.js';

/** Options for generating a text. */
export interface LlamaTextOptions {
  /** Sequence for exclusive use while the text is generated. */
  readonly cached: CachedSequence;
  /** Prompt tokens. They must leave room in the sequence for at least one token. */
  readonly prompt: readonly Token[];
  readonly sampling: Sampling & { readonly seed: number };
  /** State of the grammar that the text follows. Default: any text. */
  readonly grammar?: LlamaGrammarEvaluationState | undefined;
  /** Whether to remove leading white space: true for a chat reply, false for a continued text. */
  readonly trimStart: boolean;
  readonly signal: AbortSignal;
}

/** Default sampling parameters of llama.cpp. Source: `common_params_sampling` in its common/common.h. */
const DEFAULT_SAMPLING = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 } as const;

/**
 * Generates a text in pieces of complete characters. Ends at the model's end token, a stop sequence, `maxTokens`, or when
 * the sequence is full. If the signal is aborted, rejects with its reason within one token; the sequence stays usable.
 */
export async function* generateLlamaText(options: LlamaTextOptions): AsyncGenerator<string, TextEnd, void> {
  const { cached, prompt, sampling, trimStart } = options;
  const { sequence } = cached;
  const { model } = sequence;
  const tokenLimit = Math.min(sampling.maxTokens ?? Number.POSITIVE_INFINITY, sequence.contextSize - prompt.length);
  const characters = new WholeCharacters(model, prompt);
  const stops = new StopSequences(sampling.stop);
  let generated = 0;
  let isAtStart = trimStart;

  function trimPiece(text: string): string {
    const trimmed = isAtStart ? text.trimStart() : text;
    if (trimmed !== '') isAtStart = false;
    return trimmed;
  }

  function createEnd(finishReason: string): TextEnd {
    const totalTokens = prompt.length + generated;
    return { finishReason, promptTokens: prompt.length, completionTokens: generated, totalTokens };
  }

  for await (const token of generateTokens(options)) {
    generated++;
    const isEnd = model.isEogToken(token);
    const isLast = isEnd || generated >= tokenLimit;
    const text = isEnd ? '' : characters.push(token);
    const released = trimPiece(stops.push(isLast ? text + characters.flush() : text));
    const rest = isLast ? trimPiece(stops.flush()) : '';
    if (released + rest !== '') yield released + rest;
    if (isEnd || stops.isFound) return createEnd('stop');
    if (isLast) break;
  }
  return createEnd('length');
}

/** Yields the tokens that the model generates after the prompt, without a limit. */
async function* generateTokens(options: LlamaTextOptions): AsyncGenerator<Token, void, void> {
  const { cached, prompt, sampling, grammar, signal } = options;
  await cached.evaluate(prompt, signal);
  const { temperature = DEFAULT_SAMPLING.temperature, topP = DEFAULT_SAMPLING.topP, seed } = sampling;
  const sampled = {
    temperature,
    topP,
    topK: DEFAULT_SAMPLING.topK,
    minP: DEFAULT_SAMPLING.minP,
    seed,
    yieldEogToken: true,
    ...(grammar && { grammarEvaluationState: grammar }),
  };
  for await (const token of cached.sequence.evaluate(prompt.slice(-1), sampled)) {
    signal.throwIfAborted();
    yield token;
  }
}

/** Decodes tokens to complete characters. The bytes of a character can be spread over several tokens. */
class WholeCharacters {
  readonly #model: LlamaModel;
  /** The tokens before the pending ones. They determine whether a token starts with a space. */
  #before: readonly Token[];
  #tokens: Token[] = [];
  /** The text of the pending tokens that has already been returned. */
  #returned = '';

  constructor(model: LlamaModel, before: readonly Token[]) {
    this.#model = model;
    this.#before = before.slice(-CONTEXT_TOKENS);
  }

  /** Adds a token and returns the characters that it completes, which can be none. */
  push(token: Token): string {
    this.#tokens.push(token);
    const text = this.#detokenize();
    const piece = this.#takeUpTo(text.replace(INCOMPLETE_CHARACTER, ''));
    if (this.#returned.length === text.length) {
      this.#before = [...this.#before, ...this.#tokens].slice(-CONTEXT_TOKENS);
      this.#tokens = [];
      this.#returned = '';
    }
    return piece;
  }

  /** Returns the remaining text after the last token, with U+FFFD for incomplete characters. */
  flush(): string {
    return this.#takeUpTo(this.#detokenize());
  }

  #detokenize(): string {
    return this.#model.detokenize(this.#tokens, false, this.#before);
  }

  #takeUpTo(text: string): string {
    const piece = text.slice(this.#returned.length);
    this.#returned = text;
    return piece;
  }
}

/** An incomplete character at the end of a text: up to three bytes, each of which can be decoded to U+FFFD. */
const INCOMPLETE_CHARACTER = /\uFFFD{1,3}$/;

/** Number of preceding tokens that can affect the text of a token. */
const CONTEXT_TOKENS = 4;
