import type { Clock } from '../core/ports.js';

/** Minimum duration of a search that counts, in ms. Most take a few microseconds. */
const NEGLIGIBLE_MS = 0.25;

/** Maximum long-term share of the server's time for searches, so that renewals and heartbeats are on time. */
const MAX_SHARE = 0.25;

/** Search time that can be used at once before the share applies, in ms. */
const BURST_MS = 100;

/** Maximum number of searches that wait. Their requests wait for about a second. */
const MAX_WAITING = 256;

/**
 * Limits the time that searches take together: those of `GET /route`, or those of `GET /explain`. A query that was never sent before
 * can take milliseconds among 100,000 replicas, and anyone who can read can send a thousand of them per second.
 */
export class SearchTurns {
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  /** Until this time, past searches exceed their share, apart from the burst. */
  #paidAtMs = 0;
  #isScheduled = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether a search can run now. Otherwise call {@link runLater}. */
  get isFree(): boolean {
    return this.#waiting.length === 0 && this.#excessMs <= 0;
  }

  /** Runs a search and counts its time. Returns its result, and whether it was fast. */
  run<T>(search: () => T): { readonly result: T; readonly isFast: boolean } {
    const startedAtMs = this.#clock.nowMs();
    const result = search();
    const endedAtMs = this.#clock.nowMs();
    const tookMs = endedAtMs - startedAtMs;
    const isFast = tookMs < NEGLIGIBLE_MS;
    if (!isFast) this.#paidAtMs = Math.max(this.#paidAtMs, endedAtMs) + tookMs / MAX_SHARE;
    return { result, isFast };
  }

  /** Calls a task that runs a search when it can run, and resolves when the task has ended. Returns undefined if too many wait. */
  runLater(task: () => void | Promise<void>): Promise<void> | undefined {
    if (this.#waiting.length >= MAX_WAITING) return undefined;
    return new Promise((resolve, reject) => {
      this.#waiting.push(() => {
        try {
          resolve(task());
        } catch (error) {
          reject(error);
        }
      });
      this.#scheduleNext();
    });
  }

  get #excessMs(): number {
    return this.#paidAtMs - this.#clock.nowMs() - BURST_MS / MAX_SHARE;
  }

  /** Other requests are handled between two searches, also if a task waits again because its search is unfinished. */
  #scheduleNext(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#clock.schedule(Math.max(0, this.#excessMs), () => {
      this.#isScheduled = false;
      if (this.#excessMs <= 0) this.#waiting.shift()?.();
      if (this.#waiting.length > 0) this.#scheduleNext();
    });
  }
}
