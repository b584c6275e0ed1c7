import type { Random } from '../core/ports.js';

/** When to try again, told how the tries went. */
export interface Backoff {
  /** The wait before the next try, in milliseconds. */
  nextDelayMs(): number;
  /** Starts over, after a success that has lasted. */
  reset(): void;
}

const FIRST_MS = 1000;
const BASE_MS = 500;
/** With what an API server needs to take all of them, they are back within the 10 s that a restart may cost. */
const MOST_MS = 8000;

/**
 * Full jitter: the first wait is anything from 0 to 1 s, each later one anything from 0 to a ceiling that doubles from
 * 0.5 s to 8 s. Many that lost the same server at once come back spread out, not in step.
 * Source: "Exponential Backoff and Jitter", AWS Architecture Blog.
 */
export function createBackoff(random: Random): Backoff {
  let tries = 0;
  return {
    nextDelayMs() {
      const ceiling = tries === 0 ? FIRST_MS : Math.min(BASE_MS * 2 ** (tries - 1), MOST_MS);
      tries++;
      return random.fraction() * ceiling;
    },
    reset() {
      tries = 0;
    },
  };
}
