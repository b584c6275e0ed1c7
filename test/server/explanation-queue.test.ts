import { describe, expect, it } from 'vitest';
import type { Explanation } from '../../src/core/explanation.js';
import type { Registration, Replica } from '../../src/core/replica.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import { type ExplainedRegistry, ExplanationQueue } from '../../src/server/explanation-queue.js';
import { ManualClock } from '../support/manual-clock.js';
import { listPage, registration, replica } from '../support/replicas.js';

const QUERY = { query: ['model', 'x'], selector: EMPTY_SELECTOR };

interface Options {
  readonly replicas?: readonly Replica[];
  /** Time that examining a replica takes, in ms. */
  readonly examineMs?: number;
}

/** Creates a queue over a registry with these replicas. */
function createQueue({ replicas = [replica('r1', { model: 'x' })], examineMs = 0 }: Options = {}) {
  const clock = new ManualClock();
  let examined = 0;
  const registrations = replicas.map((one) => registration('lease', one));
  const registry: ExplainedRegistry = {
    pages: () => [{ ...listPage(registrations), registrations: iterateSlowly() }],
    search: () => {
      const last = registrations.at(-1);
      return last ? { kind: 'found', registration: last } : { kind: 'none' };
    },
  };
  function iterateSlowly(): readonly Registration[] {
    const onRead = (one: Registration): Registration => {
      examined++;
      clock.pause(examineMs);
      return one;
    };
    const iterator = function* () {
      for (const one of registrations) yield onRead(one);
    };
    return Object.assign([...registrations], { [Symbol.iterator]: iterator });
  }
  const queue = new ExplanationQueue(() => false, clock);
  return { clock, queue, registry, examined: () => examined };
}

/** Runs a turn of the event loop after the other, and returns the time that each took, until the promise settles. */
async function runTurns(clock: ManualClock, promise: Promise<unknown> | undefined): Promise<number[]> {
  const turns: number[] = [];
  let isSettled = false;
  void promise?.finally(() => {
    isSettled = true;
  });
  while (!isSettled) {
    await new Promise(setImmediate);
    const before = clock.nowMs();
    const [next = 0] = clock.pending();
    clock.advance(next);
    await new Promise(setImmediate);
    turns.push(clock.nowMs() - before - next);
  }
  return turns;
}

describe('an explanation', () => {
  it('is made in turns of about 2 ms, and takes a quarter of the time after the first 100 ms', async () => {
    const { capabilities } = replica('r', ...Array(300).fill({ a: 1, b: 1, c: 2 }));
    const replicas = Array.from({ length: 1000 }, (_, n) => ({ ...replica(`r${n}`), capabilities }));
    const { clock, queue, registry, examined } = createQueue({ replicas, examineMs: 1 });
    const explaining = queue.add(registry, QUERY, () => true);
    const turns = await runTurns(clock, explaining);
    expect(examined()).toBe(1000);
    expect(Math.max(...turns)).toBeLessThanOrEqual(3);
    expect(clock.nowMs()).toBeGreaterThan(100 + (1000 - 100) * 3);
    expect((await explaining)?.examinedCount).toBe(1000);
  });

  it('waits for those before it, and only 16 are accepted at once', async () => {
    const { clock, queue, registry } = createQueue();
    const ended: number[] = [];
    const all = Array.from({ length: 16 }, (_, n) =>
      queue.add(registry, QUERY, () => true)?.finally(() => ended.push(n)),
    );
    expect(all).not.toContain(undefined);
    expect(queue.add(registry, QUERY, () => true)).toBeUndefined();
    await runTurns(clock, Promise.all(all));
    expect(ended).toEqual(Array.from({ length: 16 }, (_, n) => n));
    expect(queue.add(registry, QUERY, () => true)).toBeDefined();
  });

  it('ends when it is no longer wanted', async () => {
    const replicas = Array.from({ length: 1000 }, (_, n) => replica(`r${n}`, { model: 'y' }));
    const { clock, queue, registry, examined } = createQueue({ replicas, examineMs: 1 });
    const first = queue.add(registry, QUERY, () => examined() < 400);
    const second = queue.add(registry, QUERY, () => false);
    const third = queue.add(registry, QUERY, () => true);
    await runTurns(clock, Promise.all([first, second]));
    expect([await first, await second]).toEqual([undefined, undefined]);
    expect(examined()).toBeLessThan(1000);
    await runTurns(clock, third);
    expect((await third)?.examinedCount).toBe(1000);
  });

  it('does not stop the next one when it fails', async () => {
    const { clock, registry } = createQueue();
    const broken = { ...registry };
    const failing = new ExplanationQueue(() => false, clock);
    broken.pages = () => {
      broken.pages = registry.pages;
      throw new Error('failed');
    };
    const first = failing.add(broken, QUERY, () => true)?.catch((error: Error) => error.message);
    const second = failing.add(broken, QUERY, () => true);
    await runTurns(clock, second);
    expect([await first, (await second)?.candidates.count]).toEqual(['failed', 1]);
  });

  it('has a candidate if a request finds one, even if it could not examine all replicas', async () => {
    const { capabilities } = replica('r', ...Array(200).fill({ b: 1 }));
    const others = Array.from({ length: 20_000 }, (_, n) => ({ ...replica(`r${n}`), capabilities }));
    const { clock, queue, registry } = createQueue({ replicas: [...others, replica('last', { model: 'x' })] });
    const explaining = queue.add(registry, QUERY, () => true);
    await runTurns(clock, explaining);
    const explanation = (await explaining) as Explanation;
    expect(explanation.isTruncated).toBe(true);
    expect(explanation.replicaCount).toBe(20_001);
    expect(explanation.candidates).toMatchObject({ count: 1, first: [{ id: 'last', state: 'ready' }] });
  });
});
