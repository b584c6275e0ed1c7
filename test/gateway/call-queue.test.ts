import { describe, expect, it } from 'vitest';
import { BusyError } from '../../src/client/connection-errors.js';
import { CallQueue } from '../../src/gateway/call-queue.js';
import { ManualClock } from '../support/manual-clock.js';

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Creates a queue for replicas with a number of free places. */
function createQueue({ maxQueuedCalls = 100, queueTimeoutMs = 30_000 } = {}) {
  const clock = new ManualClock();
  const queue = new CallQueue({ maxQueuedCalls, queueTimeoutMs }, clock, { fraction: () => 0.5 });
  const state = { free: 0, retryAfterMs: 0, made: 0 };
  const started: string[] = [];
  const outcomes: string[] = [];
  const stops = new Map<string, () => void>();
  const call = (name: string, { line = 'm', canRepeat = true } = {}): void => {
    const make = async (onAttempt: () => void): Promise<string> => {
      state.made++;
      if (state.free === 0) throw new BusyError('unavailable', 'busy', state.retryAfterMs);
      state.free--;
      started.push(name);
      onAttempt();
      return name;
    };
    queue
      .run({
        getLine: () => line,
        make,
        isBusy: () => state.free === 0,
        canRepeat: () => canRepeat,
        onWait: (stop) => stops.set(name, stop),
      })
      .then(
        () => outcomes.push(`${name} ok`),
        (error) => outcomes.push(`${name} ${error.message}`),
      );
  };
  const advance = async (ms: number): Promise<void> => {
    for (let at = 0; at < ms; at += 20) {
      clock.advance(Math.min(20, ms - at));
      await settle();
    }
  };
  return { clock, queue, state, started, outcomes, stops, call, advance };
}

describe('CallQueue', () => {
  it('makes a call at once while replicas take calls', async () => {
    const { state, call, outcomes, queue } = createQueue();
    state.free = 1;
    call('a');
    await settle();
    expect([outcomes, queue.length, state.made]).toEqual([['a ok'], 0, 1]);
  });

  it('makes calls in the order of their arrival, also those that arrive when a place is free', async () => {
    const { state, call, started, advance, queue } = createQueue();
    for (const name of ['a', 'b', 'c']) call(name);
    await advance(100);
    expect([started, queue.length]).toEqual([[], 3]);
    state.free = 2;
    call('d');
    await advance(40);
    expect([started, queue.length]).toEqual([['a', 'b'], 2]);
    state.free = 2;
    await advance(40);
    expect([started, queue.length]).toEqual([['a', 'b', 'c', 'd'], 0]);
  });

  it('does not make calls that would be refused', async () => {
    const { state, call, advance } = createQueue();
    call('a');
    await advance(1000);
    expect(state.made).toBe(1);
  });

  it('lets calls for other replicas pass', async () => {
    const { state, call, started, advance } = createQueue();
    call('a');
    await advance(20);
    state.free = 1;
    call('b', { line: 'other' });
    await settle();
    expect(started).toEqual(['b']);
  });

  it('refuses calls over its limit at once', async () => {
    const { call, outcomes, advance, queue } = createQueue({ maxQueuedCalls: 2 });
    for (const name of ['a', 'b', 'c']) call(name);
    await settle();
    expect([outcomes, queue.length]).toEqual([['c busy'], 2]);
    await advance(30_000);
    expect([outcomes, queue.length]).toEqual([['c busy', 'a busy', 'b busy'], 0]);
  });

  it('lets no call wait with a limit of 0', async () => {
    const { call, outcomes } = createQueue({ maxQueuedCalls: 0 });
    call('a');
    await settle();
    expect(outcomes).toEqual(['a busy']);
  });

  it('waits for replicas that ask not to be called, plus 10 % on average', async () => {
    const { state, call, started, advance } = createQueue();
    state.retryAfterMs = 2000;
    call('a');
    await advance(1980);
    expect(started).toEqual([]);
    await advance(20);
    state.free = 1;
    await advance(180);
    expect(started).toEqual([]);
    await advance(60);
    expect(started).toEqual(['a']);
  });

  it('goes to a replica that is free before those that ask not to be called', async () => {
    const { state, call, started, advance } = createQueue();
    state.retryAfterMs = 20_000;
    call('a');
    await advance(1000);
    call('b');
    state.free = 2;
    await advance(40);
    expect(started).toEqual(['a', 'b']);
  });

  it('refuses a call at once if the replicas ask to wait for longer than a call can', async () => {
    const { state, call, outcomes, queue } = createQueue({ queueTimeoutMs: 1000 });
    state.retryAfterMs = 2000;
    call('a');
    await settle();
    expect([outcomes, queue.length]).toEqual([['a busy'], 0]);
  });

  it('does not repeat a call that has had its attempts', async () => {
    const { call, outcomes } = createQueue();
    call('a', { canRepeat: false });
    await settle();
    expect(outcomes).toEqual(['a busy']);
  });

  it('forgets a call whose caller has left', async () => {
    const { call, outcomes, stops, queue, clock } = createQueue();
    call('a');
    await settle();
    stops.get('a')?.();
    await settle();
    expect([outcomes, queue.length]).toEqual([['a busy'], 0]);
    clock.advance(100);
    expect(clock.pending()).toEqual([]);
  });

  it('that is full refuses a call with the reason of the replicas, not because others wait', async () => {
    const { state, call, outcomes, advance } = createQueue({ maxQueuedCalls: 1 });
    state.retryAfterMs = 5000;
    call('a');
    await advance(20);
    call('b');
    await advance(20);
    expect(outcomes).toEqual(['b busy']);
    state.free = 1;
    call('c');
    await settle();
    expect(outcomes).toEqual(['b busy', 'c other calls wait for the same replicas']);
  });
});
