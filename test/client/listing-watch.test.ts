import { describe, expect, it } from 'vitest';
import type { Target } from '../../src/client/discovery.js';
import { ListingWatch, type WatchedCall } from '../../src/client/listing-watch.js';
import type { AnyserveError } from '../../src/core/errors.js';
import { asReplicaId } from '../../src/core/ids.js';
import { ManualClock } from '../support/manual-clock.js';

const R1: Target = { replicaId: asReplicaId('r1'), endpoint: 'r1.test:1' };
const R2: Target = { replicaId: asReplicaId('r2'), endpoint: 'r2.test:1' };

function watched({ isListed }: { isListed: (target: Target) => Promise<boolean> }) {
  const clock = new ManualClock();
  const asked: string[] = [];
  const watch = new ListingWatch({
    clock,
    isListed(target) {
      asked.push(target.endpoint);
      return isListed(target);
    },
  });
  const failures: string[] = [];
  const call = (target: Target, isUnresponsive = true): WatchedCall & { lastMessageAtMs: number } => {
    const made = {
      target,
      lastMessageAtMs: clock.nowMs(),
      isUnresponsive: async () => isUnresponsive,
      fail: (error: AnyserveError) => void failures.push(`${error.code} ${error.message}`),
    };
    watch.add(made);
    return made;
  };
  /** Moves time on, and lets the answers to what is asked arrive. */
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    for (let n = 0; n < 10; n++) await Promise.resolve();
  };
  return { clock, watch, asked, failures, call, pass };
}

describe('a listing watch', () => {
  it('asks after a replica of which nothing was heard for 5 s, once for all its calls, and every 2 s from then on', async () => {
    const { asked, failures, call, pass } = watched({ isListed: async () => true });
    call(R1);
    call(R1);
    await pass(4999);
    expect(asked).toEqual([]);
    await pass(1);
    expect(asked).toEqual(['r1.test:1']);
    await pass(2000);
    expect(asked).toHaveLength(2);
    expect(failures).toEqual([]);
  });

  it('does not ask after one that was heard of', async () => {
    const { clock, asked, call, pass } = watched({ isListed: async () => true });
    const streaming = call(R1);
    for (let n = 0; n < 10; n++) {
      await pass(1000);
      streaming.lastMessageAtMs = clock.nowMs();
    }
    expect(asked).toEqual([]);
  });

  it('fails the quiet calls of one that is not listed and does not answer, and no others', async () => {
    const { failures, call, pass } = watched({ isListed: async ({ endpoint }) => endpoint !== 'r1.test:1' });
    call(R1);
    call(R1);
    call(R2);
    await pass(5000);
    const failure = 'unavailable r1.test:1: the replica is no longer listed and does not respond';
    expect(failures).toEqual([failure, failure]);
  });

  it('leaves calls alone whose replica is not listed and still answers: it finishes them', async () => {
    const { failures, call, pass } = watched({ isListed: async () => false });
    call(R1, false);
    await pass(20_000);
    expect(failures).toEqual([]);
  });

  it('leaves calls alone while no API server answers', async () => {
    const { failures, call, pass } = watched({ isListed: () => Promise.reject(new Error('nobody there')) });
    call(R1);
    await pass(20_000);
    expect(failures).toEqual([]);
  });

  it('leaves no timer when no call is under way', async () => {
    const { clock, watch, call, pass } = watched({ isListed: async () => true });
    const first = call(R1);
    expect(clock.pending()).toEqual([5000]);
    watch.delete(first);
    expect(clock.pending()).toEqual([]);
    const second = call(R1);
    await pass(5000);
    watch.delete(second);
    expect(clock.pending()).toEqual([]);
  });

  it('asks less often where an answer takes long', async () => {
    let answer = (_isListed: boolean): void => {};
    const { clock, call, pass } = watched({
      isListed: () =>
        new Promise((resolve) => {
          answer = resolve;
        }),
    });
    call(R1);
    await pass(5000);
    clock.pause(500);
    answer(true);
    await pass(0);
    expect(clock.pending()).toEqual([10_000]);
  });
});
