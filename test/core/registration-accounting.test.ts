import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnyserveError } from '../../src/core/errors.js';
import type { LeaseId } from '../../src/core/ids.js';
import { estimateRegistrationBytes } from '../../src/core/registration-bytes.js';
import { Registry } from '../../src/core/registry.js';
import type { DeclaredState, Replica } from '../../src/core/replica.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, replica, TEST_REGISTRY } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

const MAX_BYTES = 8000;
const HOSTS = ['a', 'b', 'c', 'd', 'e'] as const;
const PROBE = replica('probe', { type: 'x' });

/** Creates a replica whose registration needs a few hundred bytes. */
function createSizedReplica(id: string, size: number): Replica {
  return replica(id, { type: 'x', padding: 'x'.repeat(size) });
}

function createLimitedRegistry(clock = new ManualClock()): Registry {
  const limits = { maxReplicas: 1000, maxLeasesPerHost: 1000, maxBytes: MAX_BYTES };
  const world = { clock, random: createSeededRandom(1), ids: createCountingIds(), events: createRecordingEvents() };
  return new Registry({ store: new MemoryStore(TEST_REGISTRY), ...world, limits });
}

/** The test's model of a granted lease. */
interface Held {
  readonly lease: LeaseId;
  readonly host: string;
  replica: Replica;
}

const action = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('register' as const),
      id: fc.nat(7),
      host: fc.constantFrom(...HOSTS),
      size: fc.nat(1500),
      twoWay: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('offer' as const),
      at: fc.nat(20),
      size: fc.nat(1500),
      state: fc.constantFrom<(DeclaredState | undefined)[]>('ready', 'unready', undefined),
    }),
  },
  fc.record({
    kind: fc.constantFrom('closed' as const, 'released' as const, 'unacknowledged' as const),
    at: fc.nat(20),
  }),
  fc.record({ kind: fc.constant('pass' as const), ms: fc.nat(12_000) }),
);

describe('the accounting of registration bytes', () => {
  it('equals the bytes of the active leases, and never exceeds the limits', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
        const clock = new ManualClock();
        const registry = createLimitedRegistry(clock);
        const granted: Held[] = [];
        const listRunning = (): Held[] => {
          const leases = new Map([...registry.known()].map(({ registration }) => [registration.lease, registration]));
          return granted.filter((held) => leases.has(held.lease));
        };
        const countBytes = (held: readonly Held[]): number =>
          held.reduce((sum, one) => sum + estimateRegistrationBytes(one.replica), 0);
        for (const step of actions) {
          const held = 'at' in step ? listRunning()[step.at % Math.max(1, listRunning().length)] : undefined;
          if (step.kind === 'register') {
            const registering = createSizedReplica(`r${step.id}`, step.size);
            const others = listRunning().filter((one) => one.replica.id !== registering.id);
            const bytes = estimateRegistrationBytes(registering);
            const ofHost = countBytes(others.filter(({ host }) => host === step.host)) + bytes;
            const refusal = registry.checkRegistration(registering, { host: step.host });
            const expected =
              ofHost > MAX_BYTES / 4
                ? 'resource_exhausted'
                : countBytes(others) + bytes > MAX_BYTES
                  ? 'unavailable'
                  : undefined;
            expect(refusal?.code).toBe(expected);
            if (refusal) continue;
            const terms = { host: step.host, ttlMs: step.twoWay ? 9000 : undefined };
            granted.push({
              lease: await registry.register(registering, terms, () => {}),
              host: step.host,
              replica: registering,
            });
          } else if (step.kind === 'pass') clock.advance(step.ms);
          else if (held && step.kind === 'offer') {
            const offered = createSizedReplica(held.replica.id, step.size);
            const outcome = await registry.renew(held.lease, step.state, () => offered);
            if (outcome === 'renewed') held.replica = offered;
            else expect(outcome === 'too_soon' || outcome instanceof AnyserveError).toBe(true);
          } else if (held && step.kind === 'unacknowledged')
            await registry.accuse(held.lease, 'unacknowledged', { timerDelayMs: 0 });
          else if (held && step.kind !== 'offer') await registry.release(held.lease, step.kind);
          await Promise.resolve();
          expect(countBytes(listRunning())).toBeLessThanOrEqual(MAX_BYTES);
          for (const host of HOSTS) {
            const held = countBytes(listRunning().filter((one) => one.host === host));
            expect(held).toBeLessThanOrEqual(MAX_BYTES / 4);
          }
        }
        for (const { lease } of listRunning()) await registry.release(lease, 'released');
        // All bytes are free again: each of four hosts can use its full share, and not a byte more.
        for (const host of HOSTS.slice(0, 4)) {
          const share = createSizedReplica(host, 0);
          const rest = MAX_BYTES / 4 - estimateRegistrationBytes(createSizedReplica(host, 1000)) + 1000;
          expect(registry.checkRegistration(createSizedReplica(host, rest + 1), { host })?.code).toBe(
            'resource_exhausted',
          );
          expect(registry.checkRegistration(share, { host })).toBeUndefined();
          await registry.register(createSizedReplica(host, rest), { host }, () => {});
        }
        expect(registry.checkRegistration(PROBE, { host: 'e' })?.code).toBe('unavailable');
      }),
      { numRuns: 300 },
    );
  });

  it('counts many short pairs by the size of the index, and long texts by their length', () => {
    const short = replica('r', ...Array.from({ length: 100 }, (_, n) => ({ a: n, b: n })));
    expect(estimateRegistrationBytes(short)).toBe(100 * (100 + 2 * 200));
    expect(estimateRegistrationBytes(replica('r', { a: '漢'.repeat(1000) }))).toBe(
      'r'.length + 'r.test:50051'.length + '{"a":""}'.length + 3000,
    );
  });

  it('refuses a registration with the limit in the message', () => {
    const registry = createLimitedRegistry();
    expect(registry.checkRegistration(createSizedReplica('r1', 3000), { host: 'a' })?.message).toMatch(
      /^no room for a registration of 30\d\d bytes: the maximum for all registrations of a is 2000 bytes$/,
    );
  });
});

describe('a change of capabilities', () => {
  it('is applied together with a state, keeps the position in the list, and is accepted at most once a second', async () => {
    const clock = new ManualClock();
    const registry = createLimitedRegistry(clock);
    const lease = await registry.register(replica('r1', { model: 'a' }), { host: 'a' }, () => {});
    await registry.register(replica('r2', { model: 'a' }), { host: 'a' }, () => {});
    const offer = (model: string) => () => replica('r1', { model });
    expect(await registry.renew(lease, 'unready', offer('b'))).toBe('renewed');
    expect(
      registry.pages()[0]?.registrations.map(({ replica, state }) => [replica.capabilities[0]?.source, state]),
    ).toEqual([
      ['{"model":"b"}', 'unready'],
      ['{"model":"a"}', 'ready'],
    ]);
    clock.advance(999);
    expect(await registry.renew(lease, 'ready', offer('c'))).toBe('too_soon');
    expect(registry.pages()[0]?.registrations[0]?.state).toBe('unready');
    clock.advance(1);
    expect(await registry.renew(lease, 'ready', offer('c'))).toBe('renewed');
    expect(registry.replicas().map(({ capabilities }) => capabilities[0]?.source)).toEqual([
      '{"model":"c"}',
      '{"model":"a"}',
    ]);
  });

  it('has no effect for an ended lease', async () => {
    const registry = createLimitedRegistry();
    const older = await registry.register(replica('r1', { model: 'a' }), { host: 'a' }, () => {});
    await registry.register(replica('r1', { model: 'b' }), { host: 'a' }, () => {});
    expect(await registry.renew(older, undefined, () => replica('r1', { model: 'c' }))).toBe('superseded');
    expect(registry.replicas()[0]?.capabilities[0]?.source).toBe('{"model":"b"}');
  });
});

describe('a replica with a large registration', () => {
  it('becomes ready again after a time in proportion to its size, and unready at once', async () => {
    const clock = new ManualClock();
    const registry = new Registry({
      store: new MemoryStore(TEST_REGISTRY),
      clock,
      random: createSeededRandom(1),
      ids: createCountingIds(),
      events: createRecordingEvents(),
    });
    const small = await registry.register(replica('small', { a: 1 }), { host: 'a' }, () => {});
    const objects = Array.from({ length: 4096 }, (_, n) => ({ a: n, b: n, c: n, d: n }));
    const large = await registry.register(replica('large', ...objects), { host: 'a' }, () => {});
    const listStates = () => registry.pages()[0]?.registrations.map(({ state }) => state);
    for (const lease of [small, large]) {
      expect(await registry.renew(lease, 'unready')).toBe('renewed');
      expect(await registry.renew(lease, 'ready')).toBe('renewed');
      expect(await registry.renew(lease, 'unready')).toBe('renewed');
    }
    expect(await registry.renew(small, 'ready')).toBe('renewed');
    expect(await registry.renew(large, 'ready')).toBe('too_soon');
    expect(listStates()).toEqual(['ready', 'unready']);
    clock.advance(13_000);
    expect(await registry.renew(large, 'ready')).toBe('too_soon');
    clock.advance(2000);
    expect(await registry.renew(large, 'ready')).toBe('renewed');
    expect(await registry.renew(large, 'ready')).toBe('renewed');
    expect(listStates()).toEqual(['ready', 'ready']);
  });
});
