import { describe, expect, it } from 'vitest';
import { MatchWait } from '../../src/cli/match-wait.js';
import { ManualClock } from '../support/manual-clock.js';

/** Waits until the time is over. Returns the times of the requests, in ms. */
async function listRequestTimes(waitMs: number, fraction: () => number, requestCount = 1): Promise<number[]> {
  const clock = new ManualClock();
  const { signal } = new AbortController();
  const wait = new MatchWait(waitMs, { clock, random: { fraction }, signal });
  const times = [0];
  for (;;) {
    const waiting = wait.waitForNext(requestCount);
    clock.advance(clock.pending()[0] ?? 0);
    if (!(await waiting)) return times;
    times.push(clock.nowMs());
  }
}

function listIntervals(times: readonly number[]): number[] {
  return times.slice(1).map((time, at) => time - (times[at] as number));
}

describe('the wait for a match', () => {
  it.each([1, 2])(
    'leaves at least half a second for each of %d requests, and asks last when the time is over',
    async (count) => {
      for (const fraction of [() => 0, () => 0.999, Math.random]) {
        const times = await listRequestTimes(60_000, fraction, count);
        expect(times.at(-1)).toBe(60_000);
        expect(Math.min(...listIntervals(times))).toBeGreaterThanOrEqual(count * 500);
        expect(Math.max(...listIntervals(times))).toBeLessThan(count * 1250);
        expect(times.length * count).toBeGreaterThan(75);
      }
    },
  );

  it('has jitter, so that commands that start together do not ask together', async () => {
    const intervals = listIntervals(await listRequestTimes(30_000, Math.random));
    expect(new Set(intervals).size).toBeGreaterThan(10);
  });

  it.each([0, 1, 499])('makes no second request if it is %d ms long', async (waitMs) => {
    expect(await listRequestTimes(waitMs, Math.random)).toEqual([0]);
  });

  it('ends at once when it is interrupted', async () => {
    const clock = new ManualClock();
    const interrupted = new AbortController();
    const wait = new MatchWait(60_000, { clock, random: { fraction: () => 0 }, signal: interrupted.signal });
    const waiting = wait.waitForNext();
    interrupted.abort('SIGINT');
    await expect(waiting).rejects.toBe('SIGINT');
    expect(clock.pending()).toEqual([]);
    await expect(wait.waitForNext()).rejects.toBe('SIGINT');
  });
});
