import { GenerationalCache } from '../../core/generational-cache.js';

/** Number of retries that a client can make at once. */
const MAX_TOKENS = 10;

/** Tokens that each call adds: in the long run, one retry for five calls. */
const TOKENS_PER_CALL = 0.2;

/** Maximum number of budgets. The callers that have not called for the longest time get a new one. */
const MAX_CALLERS = 1000;

/**
 * Limits the retries of a client, so that an overload doesn't grow by retries. Source: the retry throttling of gRPC (gRFC
 * A6), with tokens per call instead of per success.
 */
export class RetryBudget {
  #tokens = MAX_TOKENS;

  /** Records a new call. */
  addCall(): void {
    this.#tokens = Math.min(MAX_TOKENS, this.#tokens + TOKENS_PER_CALL);
  }

  /** Takes a token for a retry. Returns false if there is none. */
  take(): boolean {
    // Ten calls of 0.2 tokens add up to slightly less than 2.
    if (this.#tokens < 1 - 1e-9) return false;
    this.#tokens -= 1;
    return true;
  }
}

/**
 * The retry budgets for calls of one model: one for each caller. Otherwise, requests of one caller that every engine fails would turn the
 * retries of all others off.
 */
export class RetryBudgets {
  readonly #byCaller = new GenerationalCache<string, RetryBudget>(MAX_CALLERS);

  /** Returns the budget of a caller. */
  get(caller: string): RetryBudget {
    let budget = this.#byCaller.get(caller);
    if (!budget) {
      budget = new RetryBudget();
      this.#byCaller.set(caller, budget);
    }
    return budget;
  }
}
