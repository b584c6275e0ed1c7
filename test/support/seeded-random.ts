import type { Random } from '../../src/core/ports.js';

/** Creates a random source that repeats the same sequence for the same seed (mulberry32). */
export function createSeededRandom(seed: number): Random {
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

/** Creates a random source that always returns this fraction. */
export function createConstantRandom(fraction: number): Random {
  return { fraction: () => fraction };
}
