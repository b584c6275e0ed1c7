import type { Random } from '../../core/ports.js';

/** Limits of the delay before another attempt, in ms: of the first one, and of any. */
const FIRST_CEILING_MS = 100;
const MAX_CEILING_MS = 2000;

/**
 * Creates the delays between attempts to use etcd: random between half of a ceiling and the ceiling, which doubles from
 * 0.1 s to 2 s. They are shorter than those of registrants, because a server without its store serves old data, and few
 * servers use one etcd.
 */
export function createRetryDelays(random: Random): { computeNextDelayMs(): number; reset(): void } {
  let ceilingMs = FIRST_CEILING_MS;
  return {
    computeNextDelayMs() {
      const delayMs = ceilingMs * (0.5 + random.fraction() / 2);
      ceilingMs = Math.min(ceilingMs * 2, MAX_CEILING_MS);
      return delayMs;
    },
    reset() {
      ceilingMs = FIRST_CEILING_MS;
    },
  };
}
