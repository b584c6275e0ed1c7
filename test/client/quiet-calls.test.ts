import { describe, expect, it } from 'vitest';
import type { Target } from '../../src/client/discovery.js';
import { QuietCallWatch, type WatchedCall } from '../../src/client/quiet-calls.js';
import type { AnyserveError } from '../../src/core/errors.js';
import { asReplicaId } from '../../src/core/ids.js';
import { ManualClock } from '../support/manual-clock.js';

const R1: Target = { replicaId: asReplicaId('r1'), endpoint: 'r1.test:1' };
const R2: Target = { replicaId: asReplicaId('r2'), endpoint: 'r2.test:1' };

function startWatch({
  isListed,
  hasOther = true,
}: {
  isListed: (target: Target) => Promise<boolean>;
  hasOther?: boolean;
}) {
  const clock = new ManualClock();
  const checks: string[] = [];
  const watch = new QuietCallWatch({
    clock,
    hasOther: () => hasOther,
    isListed(target) {
      checks.push(target.endpoint);
      return isListed(target);
    },
  });
  const failures: string[] = [];
  const beginCall = (
    target: Target,
    isUnresponsive: boolean | Promise<boolean> = true,
  ): WatchedCall & { lastMessageAtMs: number } => {
    const made = {
      target,
      position: 0,
      lastMessageAtMs: clock.nowMs(),
      isUnresponsive: async () => isUnresponsive,
      fail: (error: AnyserveError) => void failures.push(`${error.code} ${error.message}`),
    };
    watch.add(made);
    return made;
  };
  /** Advances the clock and lets pending responses arrive. */
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    for (let n = 0; n < 10; n++) await Promise.resolve();
  };
  return { clock, watch, checks, failures, beginCall, advance };
}

describe('QuietCallWatch', () => {
  it('checks a replica that was silent for 5 s, once for all its calls, and then every second', async () => {
    const { checks, failures, beginCall, advance } = startWatch({ isListed: async () => true });
    beginCall(R1);
    beginCall(R1);
    await advance(4999);
    expect(checks).toEqual([]);
    await advance(1);
    expect(checks).toEqual(['r1.test:1']);
    await advance(1000);
    expect(checks).toHaveLength(2);
    expect(failures).toEqual([]);
  });

  it('does not check a replica that sent data recently', async () => {
    const { clock, checks, beginCall, advance } = startWatch({ isListed: async () => true });
    const streaming = beginCall(R1);
    for (let n = 0; n < 10; n++) {
      await advance(1000);
      streaming.lastMessageAtMs = clock.nowMs();
    }
    expect(checks).toEqual([]);
  });

  it('fails only the silent calls of a replica that is neither listed nor responsive', async () => {
    const { failures, beginCall, advance } = startWatch({ isListed: async ({ endpoint }) => endpoint !== 'r1.test:1' });
    beginCall(R1);
    beginCall(R1);
    beginCall(R2);
    await advance(5000);
    const failure = 'unavailable r1.test:1: the replica is no longer listed and does not respond';
    expect(failures).toEqual([failure, failure]);
  });

  it('leaves the calls of an unlisted replica that still responds: it finishes them', async () => {
    const { failures, beginCall, advance } = startWatch({ isListed: async () => false });
    beginCall(R1, false);
    await advance(20_000);
    expect(failures).toEqual([]);
  });

  it.each([
    ['the replica stays listed', async () => true],
    ['no API server responds', () => Promise.reject(new Error('nobody there'))],
  ])(
    'fails the calls of a replica that was silent for 9 s and does not respond, twice: %s',
    async (_what, isListed) => {
      const { failures, beginCall, advance } = startWatch({ isListed });
      let probes = 0;
      const call = beginCall(R1);
      const isUnresponsive = async (): Promise<boolean> => ++probes > 0;
      Object.assign(call, { isUnresponsive });
      beginCall(R2, false);
      for (const ms of [5000, 1000, 1000, 1000, 999]) await advance(ms);
      expect([probes, failures]).toEqual([0, []]);
      await advance(1);
      expect(probes).toBe(2);
      expect(failures).toEqual(['unavailable r1.test:1: the replica does not respond, nor on a new connection']);
    },
  );

  it('leaves the calls of a silent replica alone if no other replica can take them', async () => {
    const { failures, beginCall, advance } = startWatch({ isListed: async () => true, hasOther: false });
    beginCall(R1);
    for (let second = 0; second < 60; second++) await advance(1000);
    expect(failures).toEqual([]);
  });

  it('checks a silent replica again 9 s after it has responded', async () => {
    const { beginCall, failures, advance } = startWatch({ isListed: async () => true });
    let probes = 0;
    const call = beginCall(R1);
    Object.assign(call, { isUnresponsive: async () => ++probes === 1 });
    for (let second = 0; second < 17; second++) await advance(1000);
    // The first probe fails and the second succeeds.
    expect(probes).toBe(2);
    for (let second = 0; second < 3; second++) await advance(1000);
    expect(probes).toBe(3);
    expect(failures).toEqual([]);
  });

  it('leaves no timer when no call is in progress', async () => {
    const { clock, watch, beginCall, advance } = startWatch({ isListed: async () => true });
    const first = beginCall(R1);
    expect(clock.pending()).toEqual([5000]);
    watch.delete(first);
    expect(clock.pending()).toEqual([]);
    const second = beginCall(R1);
    await advance(5000);
    watch.delete(second);
    expect(clock.pending()).toEqual([]);
  });

  it('looks a replica up less often when a response takes a long time', async () => {
    let respond = (_isListed: boolean): void => {};
    const { clock, checks, beginCall, advance } = startWatch({
      isListed: () =>
        new Promise((resolve) => {
          respond = resolve;
        }),
      hasOther: false,
    });
    beginCall(R1);
    await advance(5000);
    clock.pause(500);
    respond(true);
    await advance(0);
    for (let second = 0; second < 9; second++) await advance(1000);
    expect(checks).toHaveLength(1);
    for (let second = 0; second < 3; second++) await advance(1000);
    expect(checks).toHaveLength(2);
  });

  it('checks a replica while the check of another one takes long', async () => {
    const { failures, beginCall, advance } = startWatch({ isListed: async () => true });
    beginCall(R1, new Promise(() => {}));
    await advance(2500);
    beginCall(R2);
    for (let second = 0; second < 12; second++) await advance(1000);
    expect([...new Set(failures)]).toEqual([
      'unavailable r2.test:1: the replica does not respond, nor on a new connection',
    ]);
  });

  it('checks as often when it takes long to learn that a replica does not respond', async () => {
    let respond = (_isUnresponsive: boolean): void => {};
    const { clock, failures, beginCall, advance } = startWatch({ isListed: async () => false });
    beginCall(
      R1,
      new Promise((resolve) => {
        respond = resolve;
      }),
    );
    await advance(5000);
    clock.pause(2500);
    respond(true);
    await advance(0);
    expect(failures).toHaveLength(1);
    expect(clock.pending()).toEqual([1000]);
  });
});
