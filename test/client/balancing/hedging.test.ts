import { afterEach, describe, expect, it } from 'vitest';
import { HedgeBudget } from '../../../src/client/balancing/hedging.js';
import { AnyserveError, type ErrorCode } from '../../../src/core/errors.js';
import { SimulatedFleet } from '../../support/simulated-fleet.js';
import type { SimulatedResponse } from '../../support/simulated-replicas.js';

const fleets: SimulatedFleet[] = [];

afterEach(() => {
  for (const fleet of fleets.splice(0)) fleet.close();
});

/** Creates a fleet whose calls are hedged after 50 ms. The first attempt of a call is at r1, the second at r2. */
function createFleet(options: ConstructorParameters<typeof SimulatedFleet>[0] = {}): SimulatedFleet {
  const fleet = new SimulatedFleet({ pick: 'round-robin', count: 3, hedgeAfterMs: 50, ...options });
  fleets.push(fleet);
  return fleet;
}

const fail = (code: ErrorCode, afterMs: number): SimulatedResponse => ({
  afterMs,
  error: new AnyserveError(code, code),
});

describe('a slow call', () => {
  it('is also sent to a second replica; the first response wins, and the other call is cancelled at once', async () => {
    const fleet = createFleet();
    fleet.setResponse('r1', () => ({ afterMs: 5000 }));
    const call = fleet.call();
    await fleet.run(49);
    expect(fleet.attempts).toEqual(['r1']);
    await fleet.run(1);
    expect(fleet.attempts).toEqual(['r1', 'r2']);
    await fleet.run(10);
    expect([await call, fleet.working]).toEqual(['ok', 0]);
    const [first, second] = await fleet.discovery.listReplicas();
    // The loser is neither a failure nor slow.
    expect(first).toMatchObject({ callsInProgress: 0, latencyMs: undefined });
    expect(second).toMatchObject({ callsInProgress: 0, latencyMs: 10 });
  });

  it('can be won by the first replica', async () => {
    const fleet = createFleet();
    fleet.setResponse('r1', () => ({ afterMs: 80 }));
    fleet.setResponse('r2', () => ({ afterMs: 5000 }));
    const call = fleet.call();
    await fleet.run(80);
    expect([await call, fleet.working, fleet.attempts.length]).toEqual(['ok', 0, 2]);
    expect((await fleet.discovery.listReplicas()).map(({ latencyMs }) => latencyMs)).toEqual([
      80,
      undefined,
      undefined,
    ]);
  });

  it.each([
    ['the first', fail('invalid_argument', 60), { afterMs: 100 }],
    ['the second', { afterMs: 200 }, fail('internal', 1)],
  ])('succeeds if one attempt fails while the other is in progress: %s', async (_which, first, second) => {
    const fleet = createFleet();
    fleet.setResponse('r1', () => first);
    fleet.setResponse('r2', () => second);
    const call = fleet.call();
    await fleet.run(300);
    expect([await call, fleet.attempts, fleet.working]).toEqual(['ok', ['r1', 'r2'], 0]);
  });

  it('is tried at a third replica if both attempts fail in a way that another can correct', async () => {
    const fleet = createFleet();
    fleet.setResponse('r1', () => fail('unavailable', 60));
    fleet.setResponse('r2', () => fail('unavailable', 60));
    const call = fleet.call();
    await fleet.run(1000);
    expect([await call, fleet.attempts]).toEqual(['ok', ['r1', 'r2', 'r3']]);
  });

  it('fails with the error of the last attempt, after at most two that received the whole request', async () => {
    const fleet = createFleet();
    fleet.setResponse('r1', () => fail('internal', 60));
    fleet.setResponse('r2', () => fail('internal', 60));
    const call = fleet.call();
    await fleet.run(1000);
    expect([await call, fleet.attempts]).toEqual(['internal', ['r1', 'r2']]);
  });

  it('is not sent twice when it must not be repeated, or when no other replica matches', async () => {
    const fleet = createFleet();
    for (const id of ['r1', 'r2', 'r3']) fleet.setResponse(id, () => ({ afterMs: 500 }));
    const calls = [fleet.call({ retryOnFailure: false })];
    await fleet.run(500);
    fleet.put('r2', { state: 'draining' });
    fleet.put('r3', { isCordoned: true });
    calls.push(fleet.call());
    await fleet.run(500);
    expect([await Promise.all(calls), fleet.attempts.length]).toEqual([['ok', 'ok'], 2]);
  });

  it('ends at its deadline, with both attempts', async () => {
    const fleet = createFleet();
    for (const id of ['r1', 'r2']) fleet.setResponse(id, () => ({ afterMs: 5000 }));
    const call = fleet.call({ timeoutMs: 300 });
    await fleet.run(300);
    expect([await call, fleet.working]).toEqual(['deadline_exceeded', 0]);
  });
});

describe('HedgeBudget', () => {
  it('allows at most 50 hedges in any 1,000 calls', () => {
    const budget = new HedgeBudget();
    const isHedged = Array.from({ length: 10_000 }, (_, call) => {
      budget.addCall();
      // After pauses in which hedges are saved up, every call asks for one.
      return call % 3000 > 1500 && budget.take();
    });
    const countFrom = (first: number): number => isHedged.slice(first, first + 1000).filter(Boolean).length;
    const counts = isHedged.map((_, first) => countFrom(first));
    expect(Math.max(...counts)).toBeLessThanOrEqual(50);
    expect(Math.max(...counts)).toBeGreaterThan(45);
  });
});

it('hedging makes the 99th percentile three times better when 3 % of the responses are ten times slower', async () => {
  const measure = async (hedgeAfterMs: number) => {
    const fleet = createFleet({ pick: 'p2c', count: 10, hedgeAfterMs });
    for (let n = 1; n <= 10; n++) {
      fleet.setResponse(`r${n}`, () => ({ afterMs: fleet.random.fraction() < 0.03 ? 500 : 50 }));
    }
    const durations: number[] = [];
    const calls: Promise<unknown>[] = [];
    for (let n = 0; n < 4000; n++) {
      const startedAtMs = fleet.clock.nowMs();
      calls.push(fleet.call().then(() => durations.push(fleet.clock.nowMs() - startedAtMs)));
      await fleet.run(10);
    }
    await fleet.run(1000);
    await Promise.all(calls);
    durations.sort((a, b) => a - b);
    return { p99Ms: durations[Math.floor(durations.length * 0.99)] as number, attempts: fleet.attempts.length };
  };
  const [without, hedged] = [await measure(0), await measure(75)];
  expect(hedged.p99Ms).toBeLessThanOrEqual(without.p99Ms / 3);
  expect(hedged.attempts).toBeLessThanOrEqual(4000 * 1.05);
});
