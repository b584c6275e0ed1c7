import type { Clock } from '../../core/ports.js';

/** Hedges that each call adds, and how many can be saved up. Of any 1,000 calls, at most 50 are hedged: 45 and the saved ones. */
const HEDGES_PER_CALL = 0.045;
const MAX_SAVED_HEDGES = 5;

/** Limits the second attempts of slow calls to 5 % of a client's calls, so that they don't overload a slow fleet. */
export class HedgeBudget {
  #hedges = MAX_SAVED_HEDGES;

  /** Records a new call. */
  addCall(): void {
    this.#hedges = Math.min(MAX_SAVED_HEDGES, this.#hedges + HEDGES_PER_CALL);
  }

  /** Takes a second attempt. Returns false if there is none. */
  take(): boolean {
    if (this.#hedges < 1) return false;
    this.#hedges -= 1;
    return true;
  }
}

/** An attempt in progress. */
export interface RunningAttempt<T> {
  readonly result: Promise<T>;
  /** Ends the attempt, because another one has won. */
  abandon(): void;
}

/** Options of {@link hedge}. */
export interface HedgeOptions<T> {
  readonly clock: Clock;
  /** Time without a result after which a second attempt begins, in ms. */
  readonly afterMs: number;
  /** Begins a second attempt. Returns undefined if there is no other replica, or if too many calls are hedged. */
  readonly beginSecond: () => RunningAttempt<T> | undefined;
}

/**
 * Waits for an attempt, and for a second one if the first takes long. The first success wins, and the other attempt is
 * abandoned. Rejects when no attempt is left that can succeed, with the last error. Source: J. Dean and L. Barroso, "The
 * Tail at Scale", 2013.
 */
export function hedge<T>(first: RunningAttempt<T>, { clock, afterMs, beginSecond }: HedgeOptions<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const running = new Set<RunningAttempt<T>>();
    const follow = (attempt: RunningAttempt<T>): void => {
      running.add(attempt);
      attempt.result.then(
        (value) => {
          cancelTimer();
          running.delete(attempt);
          for (const other of running) other.abandon();
          running.clear();
          resolve(value);
        },
        (error) => {
          running.delete(attempt);
          if (running.size > 0) return;
          cancelTimer();
          reject(error);
        },
      );
    };
    const cancelTimer = clock.schedule(afterMs, () => {
      const second = beginSecond();
      if (second) follow(second);
    });
    follow(first);
  });
}
