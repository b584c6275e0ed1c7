import { clock } from '../../src/system.js';

/** Requests that are repeated at a rate. */
export interface RepeatedRequests {
  /** Messages of the failures so far. */
  readonly failures: readonly string[];
  /** Duration of the longest request so far, in ms. */
  getLongestMs(): number;
  /** Number of requests so far. */
  getCount(): number;
  /** Starts no more requests, and waits for those in progress. */
  stop(): Promise<void>;
}

/** Repeats a request at a rate until it is stopped. Requests that a late timer missed are made then. */
export function repeatRequests(perSecond: number, request: () => Promise<void>): RepeatedRequests {
  const failures: string[] = [];
  const running = new Set<Promise<void>>();
  const startedAtMs = clock.nowMs();
  let count = 0;
  let longestMs = 0;
  const start = (): void => {
    count++;
    const beganAtMs = clock.nowMs();
    const one = request()
      .catch((error) => void failures.push(String(error.message ?? error)))
      .finally(() => {
        longestMs = Math.max(longestMs, clock.nowMs() - beganAtMs);
        running.delete(one);
      });
    running.add(one);
  };
  const timer = setInterval(() => {
    const due = Math.floor(((clock.nowMs() - startedAtMs) / 1000) * perSecond);
    while (count < due) start();
  }, 1000 / perSecond);
  return {
    failures,
    getLongestMs: () => longestMs,
    getCount: () => count,
    async stop() {
      clearInterval(timer);
      await Promise.all(running);
    },
  };
}
