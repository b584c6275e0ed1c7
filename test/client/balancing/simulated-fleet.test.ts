import { afterEach, describe, expect, it } from 'vitest';
import { BrokenConnectionError, NotStartedError } from '../../../src/client/connection-errors.js';
import { AnyserveError, type ErrorCode } from '../../../src/core/errors.js';
import { SimulatedFleet } from '../../support/simulated-fleet.js';
import type { SimulatedResponse } from '../../support/simulated-replicas.js';

const fleets: SimulatedFleet[] = [];

afterEach(() => {
  for (const fleet of fleets.splice(0)) fleet.close();
});

function createFleet(options: ConstructorParameters<typeof SimulatedFleet>[0]): SimulatedFleet {
  const fleet = new SimulatedFleet(options);
  fleets.push(fleet);
  return fleet;
}

const fail = (code: ErrorCode, afterMs = 1): SimulatedResponse => ({ afterMs, error: new AnyserveError(code, code) });
const REFUSED: SimulatedResponse = { afterMs: 1, error: new NotStartedError('unavailable', 'refused') };
const BROKEN: SimulatedResponse = { afterMs: 5, error: new BrokenConnectionError('unavailable', 'reset') };

/** Number of random fleets. `ANYSERVE_TEST_FUZZ_RUNS` raises it. */
const SEEDS = Number(process.env['ANYSERVE_TEST_FUZZ_RUNS'] ?? 20);

describe('a call', () => {
  it.each<[string, SimulatedResponse, number]>([
    ['a refused connection', REFUSED, 2],
    ['a connection that breaks', BROKEN, 2],
    ['unavailable', fail('unavailable'), 2],
    ['resource_exhausted', fail('resource_exhausted'), 2],
    ['internal', fail('internal'), 2],
    ['unimplemented', fail('unimplemented'), 2],
    ['not_found', fail('not_found'), 2],
    ['invalid_argument', fail('invalid_argument'), 1],
    ['permission_denied', fail('permission_denied'), 1],
    ['unknown', fail('unknown'), 1],
    ['aborted', fail('aborted'), 1],
  ])('is tried at another replica after some failures: %s', async (_what, response, attempts) => {
    const fleet = createFleet({ pick: 'round-robin', count: 3 });
    fleet.setResponse('r1', () => response);
    const [outcome] = await Promise.all([fleet.call(), fleet.run(5000)]);
    expect([outcome === 'ok', fleet.attempts]).toEqual([attempts === 2, ['r1', 'r2'].slice(0, attempts)]);
  });

  it.each<[string, SimulatedResponse, number]>([
    ['refuse connections', REFUSED, 3],
    ['are busy', fail('unavailable'), 3],
    ['break the connection', BROKEN, 2],
    ['fail', fail('internal'), 2],
  ])('has at most %s attempts when all replicas %s', async (_what, response, attempts) => {
    const fleet = createFleet({ pick: 'round-robin', count: 9 });
    for (let n = 1; n <= 9; n++) fleet.setResponse(`r${n}`, () => response);
    await Promise.all([fleet.call(), fleet.run(5000)]);
    expect(fleet.attempts).toHaveLength(attempts);
    expect(new Set(fleet.attempts).size).toBe(attempts);
  });

  it('waits for a replica when all ask not to be called, and fails at once if its deadline is earlier', async () => {
    const fleet = createFleet({ pick: 'round-robin', count: 2 });
    const cause = Object.assign(new Error('busy'), {
      metadata: { get: (name: string) => (name === 'retry-after' ? ['2'] : []) },
    });
    const busy = new AnyserveError('resource_exhausted', 'busy', { cause });
    let isBusy = true;
    for (const id of ['r1', 'r2']) fleet.setResponse(id, () => (isBusy ? { afterMs: 1, error: busy } : { afterMs: 1 }));
    const waiting = fleet.call();
    await fleet.run(1500);
    isBusy = false;
    const hasty = fleet.call({ timeoutMs: 300 });
    await fleet.run(0);
    expect(await hasty).toBe('resource_exhausted');
    await fleet.run(1000);
    expect(await waiting).toBe('ok');
    expect(fleet.attempts).toHaveLength(3);
  });
});

describe('a fleet', () => {
  it('of which all replicas fail gets at most 1.25 attempts per call, and half of it is not ejected', async () => {
    for (const response of [fail('unavailable'), fail('internal'), REFUSED, BROKEN]) {
      const fleet = createFleet({ count: 10 });
      for (let n = 1; n <= 10; n++) fleet.setResponse(`r${n}`, () => response);
      const outcomes = await fleet.makeCalls(100, 60_000);
      expect(outcomes).not.toContain('ok');
      expect(fleet.attempts.length / outcomes.length).toBeLessThanOrEqual(1.25);
      const ejected = (await fleet.discovery.listReplicas()).filter(({ ejectedForMs }) => ejectedForMs > 0);
      expect(ejected.length).toBeLessThanOrEqual(5);
    }
  });

  it('of which one replica is dead at any moment fails no call, also not the long ones in progress', async () => {
    // A call of 60 s that a death ends is tried again for 60 s before the next death.
    const DEATH_INTERVAL_MS = 130_000;
    const ids = ['r1', 'r2', 'r3', 'r4'];
    for (const pick of ['p2c', 'random', 'round-robin', 'least-request'] as const) {
      const fleet = createFleet({ count: 4, pick });
      const getDead = (): number => Math.floor(fleet.clock.nowMs() / DEATH_INTERVAL_MS) % 4;
      const getNextDeathMs = (): number => DEATH_INTERVAL_MS - (fleet.clock.nowMs() % DEATH_INTERVAL_MS);
      for (const [at, id] of ids.entries()) {
        fleet.setResponse(id, () => {
          if (getDead() === at) return REFUSED;
          const afterMs = fleet.random.fraction() < 0.1 ? 60_000 : 20;
          const isNext = (getDead() + 1) % 4 === at;
          // The connections of a replica that dies break.
          return isNext && getNextDeathMs() < afterMs ? { ...BROKEN, afterMs: getNextDeathMs() } : { afterMs };
        });
      }
      const outcomes = await fleet.makeCalls(10, 4 * DEATH_INTERVAL_MS, { timeoutMs: 600_000 });
      expect([pick, outcomes.filter((outcome) => outcome !== 'ok')]).toEqual([pick, []]);
      expect(fleet.attempts.length).toBeGreaterThan(outcomes.length);
    }
  });

  it('gets no attempt at a replica that is known as removed, draining, cordoned or busy while another matches', async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const fleet = createFleet({ seed, count: 6, timeoutMs: 5000 });
      const { random } = fleet;
      const known = new Map<string, string>(Array.from({ length: 6 }, (_, n) => [`r${n + 1}`, 'ready']));
      const change = (): void => {
        const id = `r${1 + Math.floor(random.fraction() * 6)}`;
        const state = ['ready', 'ready', 'draining', 'unready', 'cordoned', 'removed'][
          Math.floor(random.fraction() * 6)
        ] as string;
        known.set(id, state);
        if (state === 'removed') fleet.remove(id);
        else if (state === 'cordoned') fleet.put(id, { isCordoned: true });
        else fleet.put(id, { state });
        fleet.clock.schedule(random.fraction() * 200, change);
      };
      change();
      const violations: string[] = [];
      fleet.onAttempt = (id) => {
        if (known.get(id) !== 'ready') violations.push(`${id} is ${known.get(id)}`);
      };
      const responses = [
        { afterMs: 10 },
        { afterMs: 2000 },
        REFUSED,
        BROKEN,
        fail('unavailable'),
        fail('internal'),
        fail('invalid_argument'),
      ];
      for (let n = 1; n <= 6; n++) {
        fleet.setResponse(
          `r${n}`,
          () => responses[Math.floor(random.fraction() * responses.length)] as SimulatedResponse,
        );
      }
      const startedAtMs = fleet.clock.nowMs();
      await fleet.makeCalls(50, 10_000);
      expect([seed, violations]).toEqual([seed, []]);
      // The last call began within the 10 s, and has 5 s. The clock advances in steps of 1 s.
      expect(fleet.clock.nowMs() - startedAtMs).toBeLessThan(16_200);
      const inProgress = (await fleet.discovery.listReplicas()).map(({ callsInProgress }) => callsInProgress);
      expect(inProgress.every((calls) => calls === 0)).toBe(true);
    }
  });
});

describe('p2c', () => {
  it('keeps equal replicas equally busy: with 1,000 calls at 100 replicas, the busiest has at most 1.5 times the mean', async () => {
    const fleet = createFleet({ count: 100, timeoutMs: 600_000 });
    for (let n = 1; n <= 100; n++) {
      fleet.setResponse(`r${n}`, () => ({ afterMs: -1000 * Math.log(1 - fleet.random.fraction()) }));
    }
    let isOver = false;
    const callers = Array.from({ length: 1000 }, async () => {
      while (!isOver) await fleet.call();
    });
    await fleet.run(3000);
    const busiest: number[] = [];
    for (let sample = 0; sample < 50; sample++) {
      await fleet.run(100);
      busiest.push(Math.max(...(await fleet.discovery.listReplicas()).map(({ callsInProgress }) => callsInProgress)));
    }
    isOver = true;
    await fleet.run(60_000);
    await Promise.all(callers);
    expect(Math.max(...busiest)).toBeLessThanOrEqual(15);
  });

  it('sends a replica that is ten times slower so few calls that the 99th percentile is at most a third of random', async () => {
    const measureP99Ms = async (pick: 'p2c' | 'random'): Promise<number> => {
      const fleet = createFleet({ count: 10, pick });
      for (let n = 1; n <= 10; n++) fleet.setResponse(`r${n}`, () => ({ afterMs: n === 10 ? 500 : 50 }));
      const durations: number[] = [];
      const outcomes: Promise<unknown>[] = [];
      for (let n = 0; n < 6000; n++) {
        const startedAtMs = fleet.clock.nowMs();
        outcomes.push(fleet.call().then(() => durations.push(fleet.clock.nowMs() - startedAtMs)));
        await fleet.run(10);
      }
      await fleet.run(1000);
      await Promise.all(outcomes);
      durations.sort((a, b) => a - b);
      return durations[Math.floor(durations.length * 0.99)] as number;
    };
    expect(await measureP99Ms('p2c')).toBeLessThanOrEqual((await measureP99Ms('random')) / 3);
  });

  it('sends replicas with twice the weight twice the calls, idle or busy, although their latencies vary', async () => {
    for (const perSecond of [5, 50, 500]) {
      const fleet = createFleet({ count: 3 });
      for (const id of ['r4', 'r5', 'r6']) fleet.put(id, { weight: 2 });
      for (let n = 1; n <= 6; n++) {
        fleet.setResponse(`r${n}`, () => ({ afterMs: 45 + 10 * fleet.random.fraction() }));
      }
      await fleet.makeCalls(perSecond, 4_000_000 / perSecond);
      const heavy = fleet.attempts.filter((id) => ['r4', 'r5', 'r6'].includes(id)).length;
      const ratio = heavy / (fleet.attempts.length - heavy);
      expect([perSecond, ratio > 1.9 && ratio < 2.5 ? 'twice' : ratio]).toEqual([perSecond, 'twice']);
    }
  });
});
