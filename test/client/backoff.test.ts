import { describe, expect, it } from 'vitest';
import { createBackoff } from '../../src/client/backoff.js';
import { constantRandom, seededRandom } from '../support/seeded-random.js';

describe('backoff', () => {
  it('has ceilings of 1 s first, then from 0.5 s doubling to 8 s', () => {
    const backoff = createBackoff(constantRandom(1));
    const ceilings = Array.from({ length: 8 }, () => backoff.nextDelayMs());
    expect(ceilings).toEqual([1000, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
  });

  it('waits anything up to the ceiling, so that many do not come in step', () => {
    const random = seededRandom(3);
    const firstWaits = Array.from({ length: 1000 }, () => createBackoff(random).nextDelayMs());
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

  it('starts over after a reset', () => {
    const backoff = createBackoff(constantRandom(1));
    for (let n = 0; n < 5; n++) backoff.nextDelayMs();
    backoff.reset();
    expect(backoff.nextDelayMs()).toBe(1000);
  });
});
