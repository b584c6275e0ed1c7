import { describe, expect, it } from 'vitest';
import { createAdmission } from '../../src/worker/admission.js';

const NEVER = new AbortController().signal;

describe('admission', () => {
  it('lets so many in at once, so many wait, and turns the rest away without waiting', async () => {
    const admission = createAdmission({ maxConcurrency: 2, maxQueue: 1 });
    const leave = await admission.acquire(NEVER);
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
    leave();
    await waiting;
  });

  it('lets those who wait in by turn', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 10 });
    const order: number[] = [];
    const first = await admission.acquire(NEVER);
    const others = [1, 2, 3].map(async (n) => {
      const leave = await admission.acquire(NEVER);
      order.push(n);
      leave();
    });
    first();
    await Promise.all(others);
    expect(order).toEqual([1, 2, 3]);
  });

  it('gives the place of one who went away to the next', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 1 });
    const leave = await admission.acquire(NEVER);
    const gone = new AbortController();
    const waiting = admission.acquire(gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    const next = admission.acquire(NEVER);
    leave();
    (await next)();
    await admission.acquire(NEVER);
  });

  it('counts a place once, however often it is left', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    const leave = await admission.acquire(NEVER);
    leave();
    leave();
    await admission.acquire(NEVER);
    await expect(admission.acquire(NEVER)).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('has no place for one who is gone already', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    await expect(admission.acquire(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    await admission.acquire(NEVER);
  });
});
