import { describe, expect, it } from 'vitest';
import { createAdmission } from '../../src/worker/admission.js';

const NEVER = new AbortController().signal;

describe('admission', () => {
  it('lets so many in at once, so many wait, and turns the rest away without waiting', async () => {
    const admission = createAdmission({ maxConcurrency: 2, maxQueue: 1 });
    const leave = await admission.enter(NEVER);
    await admission.enter(NEVER);
    let third = false;
    const waiting = admission.enter(NEVER).then(() => {
      third = true;
    });
    await expect(admission.enter(NEVER)).rejects.toMatchObject({
      code: 'resource_exhausted',
      message: '2 calls run and 1 wait, which is all that --max-concurrency and --max-queue allow',
    });
    expect(third).toBe(false);
    leave();
    await waiting;
  });

  it('lets those who wait in by turn', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 10 });
    const order: number[] = [];
    const first = await admission.enter(NEVER);
    const others = [1, 2, 3].map(async (n) => {
      const leave = await admission.enter(NEVER);
      order.push(n);
      leave();
    });
    first();
    await Promise.all(others);
    expect(order).toEqual([1, 2, 3]);
  });

  it('gives the place of one who went away to the next', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 1 });
    const leave = await admission.enter(NEVER);
    const gone = new AbortController();
    const waiting = admission.enter(gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    const next = admission.enter(NEVER);
    leave();
    (await next)();
    await admission.enter(NEVER);
  });

  it('counts a place once, however often it is left', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    const leave = await admission.enter(NEVER);
    leave();
    leave();
    await admission.enter(NEVER);
    await expect(admission.enter(NEVER)).rejects.toMatchObject({ code: 'resource_exhausted' });
  });

  it('has no place for one who is gone already', async () => {
    const admission = createAdmission({ maxConcurrency: 1, maxQueue: 0 });
    await expect(admission.enter(AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone');
    await admission.enter(NEVER);
  });
});
