import { describe, expect, it } from 'vitest';
import { createAdmission } from '../../src/worker/admission.js';
import { ManualClock } from '../support/manual-clock.js';

const NEVER = new AbortController().signal;

describe('createAdmission', () => {
  it('admits calls up to the concurrency limit, queues calls up to the queue limit, and rejects the rest at once', async () => {
    const admission = createAdmission({ maxConcurrency: 2, maxQueue: 1 });
    const release = await admission.acquire(NEVER);
    await admission.acquire(NEVER);
    let third = false;
    const waiting = admission.acquire(NEVER).then(() => {
      third = true;
    });
    await expect(admission.acquire(NEVER)).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: 'the worker is busy and its queue is full (--max-concurrency 2, --max-queue 1)',
    });
    expect(third).toBe(false);
    release();
    await waiting;
  });

  it('admits queued calls in order of arrival', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 10 });
    const order: number[] = [];
    const first = await admission.acquire(NEVER);
    const others = [1, 2, 3].map(async (n) => {
      const release = await admission.acquire(NEVER);
      order.push(n);
      release();
    });
    first();
    await Promise.all(others);
    expect(order).toEqual([1, 2, 3]);
  });

  it('gives the queue slot of a cancelled call to the next one', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 1 });
    const release = await admission.acquire(NEVER);
    const gone = new AbortController();
    const waiting = admission.acquire(gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    const next = admission.acquire(NEVER);
    release();
    (await next)();
    await admission.acquire(NEVER);
  });

  it('counts a released slot once, even when it is released twice', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    const release = await admission.acquire(NEVER);
    release();
    release();
    await admission.acquire(NEVER);
    await expect(admission.acquire(NEVER)).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it.each([
    { what: 'half of the time until the queue is empty', runMs: 400, maxQueue: 6, pushBackMs: 600 },
    { what: 'at most 10 s', runMs: 60_000, maxQueue: 6, pushBackMs: 10_000 },
    { what: 'no time below 100 ms', runMs: 60, maxQueue: 6, pushBackMs: undefined },
    { what: 'no time without a queue, because a slot could be idle meanwhile', runMs: 400, maxQueue: 0 },
  ])('asks callers to wait when the queue is full: $what', async ({ runMs, maxQueue, pushBackMs }) => {
    const clock = new ManualClock();
    const admission = createAdmission({ maxConcurrency: 2, maxQueue }, clock);
    const fill = (): void => {
      for (let n = 0; n < 2 + maxQueue; n++) void admission.acquire(NEVER);
    };
    const release = await admission.acquire(NEVER);
    clock.advance(runMs);
    release();
    fill();
    await expect(admission.acquire(NEVER)).rejects.toMatchObject({ pushBackMs });
  });

  it('does not ask callers to wait before it knows how long calls run', async () => {
    const clock = new ManualClock();
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 2 }, clock);
    for (let n = 0; n < 3; n++) void admission.acquire(NEVER);
    clock.advance(5000);
    await expect(admission.acquire(NEVER)).rejects.toMatchObject({ pushBackMs: undefined });
  });

  it('averages the duration of calls', async () => {
    const clock = new ManualClock();
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 2 }, clock);
    for (const runMs of [1000, 1000, 3000]) {
      const release = await admission.acquire(NEVER);
      clock.advance(runMs);
      release();
    }
    for (let n = 0; n < 3; n++) void admission.acquire(NEVER);
    await expect(admission.acquire(NEVER)).rejects.toMatchObject({ pushBackMs: 1200 });
  });

  it('rejects a call that is already cancelled', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    await expect(admission.acquire(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    await admission.acquire(NEVER);
  });
});
