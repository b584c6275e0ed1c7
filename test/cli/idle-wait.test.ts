import { describe, expect, it } from 'vitest';
import { waitUntilIdle } from '../../src/cli/idle-wait.js';
import type { ReplicaLoad } from '../../src/core/load.js';
import { ManualClock } from '../support/manual-clock.js';

/** Waits with the load that `getLoad` returns at each time, and returns how long that took, in ms. */
async function measureWait(getLoad: (nowMs: number) => ReplicaLoad | undefined, maxMs = 30_000): Promise<number> {
  const clock = new ManualClock();
  let isOver = false;
  const waiting = waitUntilIdle(() => getLoad(clock.nowMs()), maxMs, clock).then(() => {
    isOver = true;
  });
  for (;;) {
    await new Promise(setImmediate);
    if (isOver) break;
    clock.advance(clock.nextDelayMs);
  }
  await waiting;
  return clock.nowMs();
}

describe('the wait for an engine without calls', () => {
  it('ends at once if the engine reports no load', async () => {
    expect(await measureWait(() => undefined)).toBe(0);
  });

  it('lasts until late calls would be in the load', async () => {
    expect(await measureWait(() => ({ running: 0, waiting: 0 }))).toBe(3000);
  });

  it('ends when no call runs or waits', async () => {
    const getLoad = (nowMs: number): ReplicaLoad => ({ running: 0, waiting: nowMs < 10_000 ? 1 : 0 });
    expect(await measureWait(getLoad)).toBe(10_000);
  });

  it('ends when the load is no longer known', async () => {
    expect(await measureWait((nowMs) => (nowMs < 4000 ? { running: 1, waiting: 0 } : undefined))).toBe(4000);
  });

  it.each([5000, 1000])('lasts for at most %d ms', async (maxMs) => {
    expect(await measureWait(() => ({ running: 1, waiting: 0 }), maxMs)).toBe(maxMs);
  });
});
