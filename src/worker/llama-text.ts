import type { LlamaModel, Token } from 'node-llama-cpp';
import type { TextEnd } from '../inference/text-generation.js';
import type { CachedSequence } from './llama-sequence-pool.js';
import type { Sampling } from './sampling.js';
import { StopSequences } from './stop-sequences.js';

/** What a text is written from. */
export interface LlamaTextOptions {
  /** A sequence that nobody else uses for as long as the text is written. */
  readonly kept: CachedSequence;
  /** The prompt; it leaves room in the sequence for at least one token. */
  readonly prompt: readonly Token[];
  readonly sampling: Sampling & { readonly seed: number };
  /** Whether white space before the text is left out, as in an answer, or belongs to it, as in a continuation. */
  readonly trimStart: boolean;
  readonly signal: AbortSignal;
}

/** What llama.cpp samples with when it is not told. Source: `common_params_sampling` in its common/common.h. */
const DEFAULTS = { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 } as const;

/**
 * Writes a text, in pieces of whole characters. Ends at the model's own end, at a stop text, at `maxTokens` or when the
 * sequence is full. Rejects with the signal's reason, within a token; the sequence can then be used again.
 */
export async function* generateLlamaText(options: LlamaTextOptions): AsyncGenerator<string, TextEnd, void> {
  const { kept, prompt, sampling, trimStart } = options;
  const { sequence } = kept;
  const { model } = sequence;
  const most = Math.min(sampling.maxTokens ?? Number.POSITIVE_INFINITY, sequence.contextSize - prompt.length);
  const characters = new WholeCharacters(model, prompt);
  const stops = new StopSequences(sampling.stop);
  let written = 0;
  let isAtStart = trimStart;

  function piece(text: string): string {
    const trimmed = isAtStart ? text.trimStart() : text;
    if (trimmed !== '') isAtStart = false;
    return trimmed;
  }

  function end(finishReason: string): TextEnd {
    const totalTokens = prompt.length + written;
    return { finishReason, promptTokens: prompt.length, completionTokens: written, totalTokens };
  }

  for await (const token of tokensAfter(options)) {
    written++;
    const isEnd = model.isEogToken(token);
    const isLast = isEnd || written >= most;
    const text = isEnd ? '' : characters.push(token);
    const given = piece(stops.push(isLast ? text + characters.rest() : text));
    const rest = isLast ? piece(stops.flush()) : '';
    if (given + rest !== '') yield given + rest;
    if (isEnd || stops.isFound) return end('stop');
    if (isLast) break;
  }
  return end('length');
}

/** The tokens that the model puts behind the prompt, without an end of their own. */
async function* tokensAfter(options: LlamaTextOptions): AsyncGenerator<Token, void, void> {
  const { kept, prompt, sampling, signal } = options;
  await kept.evaluate(prompt, signal);
  const { temperature = DEFAULTS.temperature, topP = DEFAULTS.topP, seed } = sampling;
  const sampled = { temperature, topP, topK: DEFAULTS.topK, minP: DEFAULTS.minP, seed, yieldEogToken: true };
  for await (const token of kept.sequence.evaluate(prompt.slice(-1), sampled)) {
    signal.throwIfAborted();
    yield token;
  }
}

/** The text of tokens as they come, in whole characters: the bytes of one may be spread over several tokens. */
class WholeCharacters {
  readonly #model: LlamaModel;
  /** The tokens before those that are not all given yet; whether a token begins with a space depends on them. */
  #before: readonly Token[];
  #tokens: Token[] = [];
  /** The text of the tokens that is given already. */
  #given = '';

  constructor(model: LlamaModel, before: readonly Token[]) {
    this.#model = model;
    this.#before = before.slice(-BEFORE);
  }

  /** Takes the next token; gives the characters that are whole with it, perhaps none. */
  push(token: Token): string {
    this.#tokens.push(token);
    const text = this.#text();
    const piece = this.#give(text.replace(UNFINISHED, ''));
    if (this.#given.length === text.length) {
      this.#before = [...this.#before, ...this.#tokens].slice(-BEFORE);
      this.#tokens = [];
      this.#given = '';
    }
    return piece;
  }

  /** Gives what is left when no token follows: U+FFFD for bytes that make no character. */
  rest(): string {
    return this.#give(this.#text());
  }

  #text(): string {
    return this.#model.detokenize(this.#tokens, false, this.#before);
  }

  #give(text: string): string {
    const piece = text.slice(this.#given.length);
    this.#given = text;
    return piece;
  }
}

/** A character of which bytes are missing: at most three, each of which may be shown. */
const UNFINISHED = /\uFFFD{1,3}$/;

/** How many tokens before others have a say in their text. */
const BEFORE = 4;
