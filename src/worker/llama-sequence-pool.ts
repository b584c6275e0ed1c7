import type { LlamaContext, LlamaContextSequence, Token } from 'node-llama-cpp';

/**
 * Number of prompt tokens that are evaluated at once. Only complete blocks are cached for the next call: the values of a
 * block depend on the tokens up to its end and on the batch size, so a cached block has exactly the values that evaluating
 * it again would produce. Generated tokens are evaluated one by one. Their values differ slightly and could change the text
 * for the same seed.
 */
export const PROMPT_BLOCK_TOKENS = 64;

/** A sequence of a context with its cached tokens: complete blocks of the last prompt. */
export class CachedSequence {
  readonly sequence: LlamaContextSequence;
  #cached: readonly Token[] = [];

  constructor(sequence: LlamaContextSequence) {
    this.sequence = sequence;
  }

  /** Number of cached tokens. */
  get length(): number {
    return this.#cached.length;
  }

  /**
   * Returns the number of prompt tokens, in complete blocks, that need not be evaluated. The last token is always evaluated,
   * because its result predicts the next one.
   */
  getCommonLength(prompt: readonly Token[]): number {
    const maxLength = Math.min(this.#cached.length, prompt.length - 1);
    let common = 0;
    while (common < maxLength && this.#cached[common] === prompt[common]) common++;
    return common - (common % PROMPT_BLOCK_TOKENS);
  }

  /** Evaluates a prompt without its last token. After each block, rejects with the signal's reason if it is aborted. */
  async evaluate(prompt: readonly Token[], signal: AbortSignal): Promise<void> {
    const last = prompt.length - 1;
    let position = await this.#keepOnly(prompt);
    while (position < last) {
      signal.throwIfAborted();
      const block = prompt.slice(position, Math.min(position + PROMPT_BLOCK_TOKENS, last));
      await this.sequence.evaluateWithoutGeneratingNewTokens(block);
      position += block.length;
      if (block.length === PROMPT_BLOCK_TOKENS) this.#cached = prompt.slice(0, position);
    }
  }

  /** Removes cached tokens that don't belong to the prompt, and returns the number of remaining ones. */
  async #keepOnly(prompt: readonly Token[]): Promise<number> {
    const { sequence } = this;
    const common = sequence.needsCheckpoints ? 0 : this.getCommonLength(prompt);
    // The state is unknown until the removal has finished.
    this.#cached = [];
    if (common > 0) await sequence.eraseContextTokenRanges([{ start: common, end: sequence.nextTokenIndex }]);
    if (common === 0 || sequence.nextTokenIndex !== common) {
      await sequence.clearHistory();
      return 0;
    }
    this.#cached = prompt.slice(0, common);
    return common;
  }
}

/** The free sequences of a context, ordered by the time since their last use, longest first. */
export class SequencePool {
  readonly #free: CachedSequence[];

  constructor(context: LlamaContext, count: number) {
    this.#free = Array.from({ length: count }, () => new CachedSequence(context.getSequence()));
  }

  /**
   * Takes the sequence with the longest cached prefix of the prompt. A sequence that would lose more than half of its cache
   * is only taken if it is the least recently used, so that a few common tokens don't evict another conversation. At least
   * one sequence must be free.
   */
  take(prompt: readonly Token[]): CachedSequence {
    let best = this.#free[0] as CachedSequence;
    let maxLength = best.getCommonLength(prompt);
    for (const candidate of this.#free) {
      const common = candidate.getCommonLength(prompt);
      if (common > maxLength && common * 2 >= candidate.length) [best, maxLength] = [candidate, common];
    }
    this.#free.splice(this.#free.indexOf(best), 1);
    return best;
  }

  /** Returns a sequence to the pool. */
  release(sequence: CachedSequence): void {
    this.#free.push(sequence);
  }
}
