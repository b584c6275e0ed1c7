import type { Random } from '../core/ports.js';

/** Delays between attempts. */
export interface Backoff {
  /** Returns the delay before the next attempt, in ms. */
  computeNextDelayMs(): number;
  /** Starts over. To be called after a success that has lasted. */
  reset(): void;
}

/** A connection that lasted this long was a success, in ms: the backoff starts over. */
export const STABLE_AFTER_MS = 30_000;

const FIRST_CEILING_MS = 1000;
const BASE_CEILING_MS = 500;
/**
 * Maximum ceiling, in ms. Together with the time that an API server needs to register all replicas, it stays within the 10 s
 * that a restart is allowed to cost.
 */
const MAX_CEILING_MS = 8000;

/**
 * Creates a backoff with full jitter: the first delay is random between 0 and 1 s, each later one between 0 and a ceiling
 * that doubles from 0.5 s to 8 s. Clients that lost the same server at once reconnect spread out, not in step.
 * Source: "Exponential Backoff and Jitter", AWS Architecture Blog.
 */
export function createBackoff(random: Random): Backoff {
  let attempts = 0;
  return {
    computeNextDelayMs() {
      const ceilingMs =
        attempts === 0 ? FIRST_CEILING_MS : Math.min(BASE_CEILING_MS * 2 ** (attempts - 1), MAX_CEILING_MS);
      attempts++;
      return random.fraction() * ceilingMs;
    },
    reset() {
      attempts = 0;
    },
  };
}
