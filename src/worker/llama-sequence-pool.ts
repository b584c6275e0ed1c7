import type { LlamaContext, LlamaContextSequence, Token } from 'node-llama-cpp';

/**
 * Number of tokens that are evaluated at once. Only whole blocks of a prompt are kept for the next call: what a block computes
 * depends on the tokens up to its end and on how many are evaluated together, so a kept block has the very numbers that
 * it would have again. Tokens that the model wrote were evaluated one by one, have slightly other numbers, and could change the
 * text for the same seed.
 */
export const PROMPT_BLOCK_TOKENS = 64;

/** A sequence of a context, and the tokens whose state it keeps: whole blocks of the last prompt. */
export class CachedSequence {
  readonly sequence: LlamaContextSequence;
  #kept: readonly Token[] = [];

  constructor(sequence: LlamaContextSequence) {
    this.sequence = sequence;
  }

  /** Number of tokens that are kept. */
  get length(): number {
    return this.#kept.length;
  }

  /** Number of tokens of a prompt, in whole blocks, that need not be evaluated. The last token must be, for what follows it. */
  commonLength(prompt: readonly Token[]): number {
    const most = Math.min(this.#kept.length, prompt.length - 1);
    let common = 0;
    while (common < most && this.#kept[common] === prompt[common]) common++;
    return common - (common % PROMPT_BLOCK_TOKENS);
  }

  /** Evaluates a prompt up to before its last token. Rejects with the signal's reason, after a block. */
  async evaluate(prompt: readonly Token[], signal: AbortSignal): Promise<void> {
    const last = prompt.length - 1;
    let at = await this.#keepOnly(prompt);
    while (at < last) {
      signal.throwIfAborted();
      const block = prompt.slice(at, Math.min(at + PROMPT_BLOCK_TOKENS, last));
      await this.sequence.evaluateWithoutGeneratingNewTokens(block);
      at += block.length;
      if (block.length === PROMPT_BLOCK_TOKENS) this.#kept = prompt.slice(0, at);
    }
  }

  /** Removes what does not belong to the prompt; returns how many of its tokens are left. */
  async #keepOnly(prompt: readonly Token[]): Promise<number> {
    const { sequence } = this;
    const common = sequence.needsCheckpoints ? 0 : this.commonLength(prompt);
    // Until it is done, nothing is known of the state.
    this.#kept = [];
    if (common > 0) await sequence.eraseContextTokenRanges([{ start: common, end: sequence.nextTokenIndex }]);
    if (common === 0 || sequence.nextTokenIndex !== common) {
      await sequence.clearHistory();
      return 0;
    }
    this.#kept = prompt.slice(0, common);
    return common;
  }
}

/** The free sequences of a context, the one that was free for the longest time first. */
export class SequencePool {
  readonly #free: CachedSequence[];

  constructor(context: LlamaContext, count: number) {
    this.#free = Array.from({ length: count }, () => new CachedSequence(context.getSequence()));
  }

  /**
   * Takes the sequence that has most of the prompt; but a sequence of which more than half would be lost only when it was
   * free for the longest time, so that a few common tokens do not end another conversation. One must be free.
   */
  take(prompt: readonly Token[]): CachedSequence {
    let best = this.#free[0] as CachedSequence;
    let most = best.commonLength(prompt);
    for (const candidate of this.#free) {
      const common = candidate.commonLength(prompt);
      if (common > most && common * 2 >= candidate.length) [best, most] = [candidate, common];
    }
    this.#free.splice(this.#free.indexOf(best), 1);
    return best;
  }

  /** Gives a sequence back. */
  release(sequence: CachedSequence): void {
    this.#free.push(sequence);
  }
}
