import { describe, expect, it } from 'vitest';
import { Bitmap } from '../../../src/core/index/bitmap.js';
import { RankedBitmap } from '../../../src/core/index/ranked-bitmap.js';
import { computeChiSquare } from '../../support/chi-square.js';
import { createSeededRandom } from '../../support/seeded-random.js';

/** Creates a random source with a given fraction. */
const drawing = (fraction: number) => ({ fraction: () => fraction });

describe('a ranked bitmap', () => {
  it.each([1, 2, 3])('chooses each member by its rank, like a sorted list (seed %i)', (seed) => {
    const random = createSeededRandom(seed);
    const pick = (bound: number): number => Math.floor(random.fraction() * bound);
    const start = new Bitmap();
    const members = new Set<number>();
    for (let n = 0; n < 300; n++) {
      const slot = pick(5000);
      start.add(slot);
      members.add(slot);
    }
    const bitmap = new RankedBitmap(start);
    for (let step = 0; step < 3000; step++) {
      const slot = pick(step < 1000 ? 5000 : 100_000);
      const isMember = pick(2) === 0;
      expect(bitmap.set(slot, isMember)).toBe(members.has(slot) !== isMember);
      if (isMember) members.add(slot);
      else members.delete(slot);
      expect(bitmap.size).toBe(members.size);
      if (step % 200 > 0) continue;
      const sorted = [...members].sort((a, b) => a - b);
      const excluded = [sorted[pick(sorted.length)], sorted[0], 99_999_999].filter((one) => one !== undefined);
      const left = sorted.filter((one) => !excluded.includes(one));
      for (const [rank, one] of left.entries()) {
        expect(bitmap.choose(excluded, drawing((rank + 0.5) / left.length))).toBe(one);
      }
      expect(bitmap.size).toBe(members.size);
    }
  });

  it('chooses uniformly', () => {
    const bitmap = new RankedBitmap(new Bitmap());
    for (const slot of [0, 31, 32, 1023, 1024, 70_000]) bitmap.set(slot, true);
    const random = createSeededRandom(4);
    const counts = new Map<number | undefined, number>();
    for (let n = 0; n < 6000; n++) {
      const slot = bitmap.choose([31], random);
      counts.set(slot, (counts.get(slot) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual([0, 1023, 1024, 32, 70_000]);
    expect(computeChiSquare([...counts.values()])).toBeLessThan(18.47);
  });

  it('chooses nothing if all members are excluded, or there are none', () => {
    const bitmap = new RankedBitmap(new Bitmap());
    expect(bitmap.choose([], drawing(0))).toBeUndefined();
    bitmap.set(7, true);
    expect(bitmap.choose([7], drawing(0))).toBeUndefined();
    expect(bitmap.choose([], drawing(0))).toBe(7);
  });
});
