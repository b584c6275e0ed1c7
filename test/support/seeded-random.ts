import type { Random } from '../../src/core/ports.js';

/** Chance that comes out the same for the same seed (mulberry32). */
export function seededRandom(seed: number): Random {
  let state = seed;
  return {
    fraction() {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    },
  };
}

/** Chance that always says the same. */
export function constantRandom(fraction: number): Random {
  return { fraction: () => fraction };
}
