import { describe, expect, it } from 'vitest';
import { createAdmission } from '../../src/worker/admission.js';

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

  it('rejects a call that is already cancelled', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    await expect(admission.acquire(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    await admission.acquire(NEVER);
  });
});
