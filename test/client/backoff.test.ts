import { describe, expect, it } from 'vitest';
import { createBackoff } from '../../src/client/backoff.js';
import { createConstantRandom, createSeededRandom } from '../support/seeded-random.js';

describe('Backoff', () => {
  it('has a ceiling of 1 s first, then of 0.5 s, doubling up to 8 s', () => {
    const backoff = createBackoff(createConstantRandom(1));
    const ceilings = Array.from({ length: 8 }, () => backoff.computeNextDelayMs());
    expect(ceilings).toEqual([1000, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
  });

  it("waits a random time up to the ceiling, so that many clients don't retry at the same moment", () => {
    const random = createSeededRandom(3);
    const firstWaits = Array.from({ length: 1000 }, () => createBackoff(random).computeNextDelayMs());
    for (const [from, to] of [
      [0, 250],
      [250, 500],
      [500, 750],
      [750, 1000],
    ] as const) {
      const count = firstWaits.filter((ms) => ms >= from && ms < to).length;
      expect(count).toBeGreaterThan(200);
    }
  });

  it('starts again at the first ceiling after a reset', () => {
    const backoff = createBackoff(createConstantRandom(1));
    for (let n = 0; n < 5; n++) backoff.computeNextDelayMs();
    backoff.reset();
    expect(backoff.computeNextDelayMs()).toBe(1000);
  });
});
