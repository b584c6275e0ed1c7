import { describe, expect, it } from 'vitest';
import { type Cordon, chooseNewerCordon } from '../../src/core/cordon.js';
import { asReplicaId, type LeaseId } from '../../src/core/ids.js';
import type { LeaseTerms } from '../../src/core/lease-table.js';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, prepareQuery, replica, TEST_REGISTRY } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

const HOUR_MS = 3_600_000;
const R1 = asReplicaId('r1');
const CORDON = { cordoned: true, reason: 'bad GPU' };
const UNCORDON = { cordoned: false, reason: '' };

function createRegistry() {
  const clock = new ManualClock();
  const events = createRecordingEvents();
  const store = new MemoryStore(TEST_REGISTRY);
  const create = (): Registry =>
    new Registry({ store, clock, random: createSeededRandom(1), ids: createCountingIds(), events });
  const registry = create();
  const register = (terms: Partial<LeaseTerms> = {}, id = 'r1', capability = { type: 'chat' }): Promise<LeaseId> =>
    registry.register(replica(id, capability), { host: 'h', ttlMs: 9000, ...terms }, () => {});
  const route = (): string | undefined => registry.route(prepareQuery({ type: 'chat' }), new Set())?.id;
  const listKinds = (): string[] => events.all.map(({ kind }) => kind);
  return { registry, clock, events, register, route, listKinds, createSecond: create };
}

describe('a cordoned replica', () => {
  it('is not routed to and not listed for callers, in any state', async () => {
    const { registry, register, route, events } = createRegistry();
    const lease = await register();
    expect(await registry.cordons.set(R1, CORDON)).toEqual({ ...CORDON, atMs: 1_700_000_000_000 });
    for (const state of ['ready', 'unready', 'ready'] as const) {
      await registry.renew(lease, state);
      expect([route(), registry.replicas()]).toEqual([undefined, []]);
    }
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0, isLossy: true });
    expect(registry.find(R1)?.registration.state).toBe('suspect');
    expect([route(), registry.replicas()]).toEqual([undefined, []]);
    await registry.cordons.set(R1, UNCORDON);
    expect(route()).toBe('r1');
    expect(events.all).toContainEqual({ kind: 'cordoned', replicaId: 'r1', reason: 'bad GPU' });
    expect(events.all.at(-1)).toEqual({ kind: 'uncordoned', replicaId: 'r1' });
  });

  it('stays cordoned when it registers again, from any process and after it left', async () => {
    const { registry, register, route, listKinds } = createRegistry();
    await register();
    await registry.cordons.set(R1, CORDON);
    const lease = await register();
    expect(route()).toBeUndefined();
    await registry.release(lease, 'released');
    await register();
    expect(route()).toBeUndefined();
    expect(listKinds().filter((kind) => kind === 'cordoned')).toHaveLength(1);
    expect(registry.cordons.find(R1)).toMatchObject(CORDON);
  });

  it('is cordoned at all registries of one store', async () => {
    const { registry, register, createSecond } = createRegistry();
    const second = createSecond();
    await register();
    await second.cordons.set(R1, CORDON);
    expect([registry.replicas(), second.replicas()]).toEqual([[], []]);
  });
});

describe('the memory of a registry', () => {
  it('can uncordon an id that left, and forgets it 1 h after it left', async () => {
    const { registry, register, route, clock } = createRegistry();
    await registry.cordons.set(R1, CORDON);
    await registry.release(await register(), 'released');
    expect(await registry.cordons.set(R1, CORDON)).toBe('unknown');
    const lease = await register();
    await registry.cordons.set(R1, CORDON);
    await registry.release(lease, 'released');
    clock.advance(HOUR_MS);
    expect(await registry.cordons.set(R1, UNCORDON)).toMatchObject(UNCORDON);
    expect(await registry.cordons.set(R1, CORDON)).toMatchObject(CORDON);
    clock.advance(1);
    expect(await registry.cordons.set(R1, UNCORDON)).toBe('unknown');
    await register();
    expect(route()).toBe('r1');
  });

  it('keeps the cordons of the last 10,000 ids that left', async () => {
    const { registry, register } = createRegistry();
    for (let n = 0; n <= 10_000; n++) {
      const lease = await register({}, `r${n}`, { type: 'x' });
      await registry.cordons.set(asReplicaId(`r${n}`), CORDON);
      await registry.release(lease, 'released');
    }
    expect(registry.cordons.find(asReplicaId('r0'))).toBeUndefined();
    expect(registry.cordons.find(asReplicaId('r1'))).toMatchObject(CORDON);
    expect(registry.cordons.find(asReplicaId('r10000'))).toMatchObject(CORDON);
  });
});

describe('a cordon that a replica repeats', () => {
  const at = (atMs: number, cordoned = true): Cordon => ({ cordoned, reason: '', atMs });
  const NOW_MS = 1_700_000_000_000;

  it('applies if it is newer, in a registration and in a renewal', async () => {
    const { registry, register, route } = createRegistry();
    const lease = await register({ cordon: at(5) });
    expect(route()).toBeUndefined();
    await registry.cordons.adopt(lease, at(4, false));
    expect(route()).toBeUndefined();
    await registry.cordons.adopt(lease, at(6, false));
    expect(route()).toBe('r1');
    await register({ cordon: at(5) });
    expect(route()).toBe('r1');
    expect(registry.cordons.find(R1)).toEqual(at(6, false));
  });

  it('is older than the next one that is set here, whatever the clocks are', async () => {
    const { registry, register, route } = createRegistry();
    await register({ cordon: at(NOW_MS + HOUR_MS) });
    expect(await registry.cordons.set(R1, UNCORDON)).toEqual({ ...UNCORDON, atMs: NOW_MS + HOUR_MS + 1 });
    expect(route()).toBe('r1');
  });

  it('is ignored if it is more than a day ahead of the clock', async () => {
    const { registry, register, route } = createRegistry();
    const lease = await register({ cordon: at(NOW_MS + 24 * HOUR_MS + 1) });
    expect(route()).toBe('r1');
    await registry.cordons.set(R1, CORDON);
    await registry.cordons.adopt(lease, at(NOW_MS + 24 * HOUR_MS + 1, false));
    expect(route()).toBeUndefined();
  });

  it('emits no event if the replica is not cordoned before and after', async () => {
    const { register, listKinds } = createRegistry();
    await register({ cordon: at(5, false) });
    expect(listKinds()).toEqual(['registered']);
  });

  it('changes nothing for an unknown lease', async () => {
    const { registry, register, route } = createRegistry();
    const lease = await register();
    await register();
    await registry.cordons.adopt(lease, at(5));
    expect(route()).toBe('r1');
  });
});

it('a large registration cannot be uncordoned again and again', async () => {
  const { registry, clock } = createRegistry();
  const large = replica('r1', ...Array.from({ length: 1000 }, (_, n) => ({ key: `value-${'x'.repeat(50)}-${n}` })));
  await registry.register(large, { host: 'h', ttlMs: 9000 }, () => {});
  await registry.cordons.set(R1, CORDON);
  expect(await registry.cordons.set(R1, UNCORDON)).toMatchObject(UNCORDON);
  await registry.cordons.set(R1, CORDON);
  expect(await registry.cordons.set(R1, UNCORDON)).toBe('too_soon');
  expect(registry.replicas()).toEqual([]);
  clock.advance(4096);
  expect(await registry.cordons.set(R1, UNCORDON)).toMatchObject(UNCORDON);
});

it('all servers and replicas choose the same one of two cordons', () => {
  const cordons = [1, 2].flatMap((atMs) =>
    [true, false].flatMap((cordoned) => ['', 'a', 'b'].map((reason) => ({ cordoned, reason, atMs }))),
  );
  for (const a of cordons) {
    for (const b of cordons) expect(chooseNewerCordon(a, { ...b })).toEqual(chooseNewerCordon(b, { ...a }));
  }
});
