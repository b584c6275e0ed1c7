import { describe, expect, it, vi } from 'vitest';
import { asReplicaId, type LeaseId } from '../../src/core/ids.js';
import type { LeaseHolder } from '../../src/core/lease-table.js';
import { Registry } from '../../src/core/registry.js';
import { MemoryStore } from '../../src/store/memory-store.js';
import { computeChiSquare } from '../support/chi-square.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, prepareQuery, replica, TEST_REGISTRY } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

const NONE: ReadonlySet<never> = new Set();
const AT_HOME = { host: '127.0.0.1' };

function createRegistry({ seed = 1, events = createRecordingEvents(), clock = new ManualClock() } = {}): Registry {
  return new Registry({
    store: new MemoryStore(TEST_REGISTRY),
    clock,
    random: createSeededRandom(seed),
    ids: createCountingIds(),
    events,
  });
}

function listIds(registry: Registry): string[] {
  return registry.replicas().map(({ id }) => id);
}

describe('registry', () => {
  it('keeps the newer registration of an id when the older connection closes late', async () => {
    const registry = createRegistry();
    const older = await registry.register(replica('r1', { model: 'old' }), AT_HOME, () => {});
    await registry.register(replica('r1', { model: 'new' }), AT_HOME, () => {});
    await registry.release(older, 'closed');
    expect(registry.route(prepareQuery({ model: 'new' }), NONE)?.id).toBe('r1');
    expect(registry.route(prepareQuery({ model: 'old' }), NONE)).toBeUndefined();
  });

  it('notifies the older holder of an id once that it is superseded', async () => {
    const registry = createRegistry();
    const older = vi.fn<LeaseHolder>();
    const newer = vi.fn<LeaseHolder>();
    await registry.register(replica('r1', {}), AT_HOME, older);
    await registry.register(replica('r1', {}), AT_HOME, newer);
    expect(older.mock.calls).toEqual([['superseded', undefined]]);
    expect(newer).not.toHaveBeenCalled();
  });

  it('can route to a replica before its registration is confirmed', () => {
    const registry = createRegistry();
    const confirmed = registry.register(replica('r1', { type: 'chat' }), AT_HOME, () => {});
    expect(registry.route(prepareQuery({ type: 'chat' }), NONE)?.id).toBe('r1');
    return confirmed;
  });

  it('removes a replica as soon as its lease is released, and emits the reason', async () => {
    const events = createRecordingEvents();
    const registry = createRegistry({ events });
    const lease = await registry.register(replica('r1', { type: 'chat' }), AT_HOME, () => {});
    const released = registry.release(lease, 'closed');
    expect(registry.route(prepareQuery(), NONE)).toBeUndefined();
    await released;
    const lease1 = { host: '127.0.0.1', livedMs: 0, silentMs: 0 };
    expect(events.all).toEqual([
      { kind: 'registered', replicaId: 'r1', endpoint: 'r1.test:50051' },
      { kind: 'removed', replicaId: 'r1', reason: 'closed', lease: lease1 },
    ]);
  });

  it('changes nothing when a lease is released twice', async () => {
    const registry = createRegistry();
    const lease = await registry.register(replica('r1', {}), AT_HOME, () => {});
    await registry.release(lease, 'closed');
    await registry.register(replica('r1', {}), AT_HOME, () => {});
    await registry.release(lease, 'closed');
    expect(listIds(registry)).toEqual(['r1']);
  });

  it('lists replicas in the order of registration, and keeps the position of one that registers again', async () => {
    const registry = createRegistry();
    await registry.register(replica('r1', {}), AT_HOME, () => {});
    await registry.register(replica('r2', {}), AT_HOME, () => {});
    await registry.register(replica('r1', { model: 'x' }), AT_HOME, () => {});
    expect(listIds(registry)).toEqual(['r1', 'r2']);
  });

  it('chooses uniformly among the matching replicas, regardless of how many of their capabilities match', async () => {
    const registry = createRegistry({ seed: 7 });
    const names = ['r1', 'r2', 'r3', 'r4', 'r5'];
    for (const name of names) await registry.register(replica(name, { type: 'chat' }), AT_HOME, () => {});
    await registry.register(
      replica('r1', { type: 'chat', model: 'a' }, { type: 'chat', model: 'b' }),
      AT_HOME,
      () => {},
    );
    await registry.register(replica('other', { type: 'embed' }), AT_HOME, () => {});
    const counts = new Map(names.map((name) => [name, 0]));
    for (let n = 0; n < 3000; n++) {
      const id = registry.route(prepareQuery({ type: 'chat' }), NONE)?.id ?? '';
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts.keys()]).toEqual(names);
    expect(computeChiSquare([...counts.values()])).toBeLessThan(18.47);
  });

  it('skips excluded replicas unless no other matches', async () => {
    const registry = createRegistry();
    await registry.register(replica('r1', { type: 'chat' }), AT_HOME, () => {});
    await registry.register(replica('r2', { type: 'chat' }), AT_HOME, () => {});
    const excluded = new Set([asReplicaId('r1')]);
    for (let n = 0; n < 50; n++) expect(registry.route(prepareQuery({ type: 'chat' }), excluded)?.id).toBe('r2');
    const both = new Set([asReplicaId('r1'), asReplicaId('r2')]);
    expect(registry.route(prepareQuery({ type: 'chat' }), both)).toBeDefined();
  });

  it('routes to a suspect if no ready replica matches, and prefers it to an excluded one', async () => {
    const clock = new ManualClock();
    const registry = createRegistry({ clock });
    await registry.register(replica('ready', { type: 'chat' }), AT_HOME, () => {});
    const lease = await registry.register(replica('suspect', { type: 'chat', model: 'a' }), AT_HOME, () => {});
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 5000 });
    for (let n = 0; n < 30; n++) expect(registry.route(prepareQuery({ type: 'chat' }), NONE)?.id).toBe('ready');
    expect(registry.route(prepareQuery({ model: 'a' }), NONE)?.id).toBe('suspect');
    expect(registry.route(prepareQuery({ type: 'chat' }), new Set([asReplicaId('ready')]))?.id).toBe('suspect');
  });

  it('suspects a silent replica on a lossy host until a sign of life', async () => {
    const registry = createRegistry();
    const lease = await registry.register(replica('r1', {}), AT_HOME, () => {});
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0, isLossy: true });
    expect([...registry.known()]).toMatchObject([{ registration: { state: 'suspect' } }]);
    await registry.recordSignOfLife(lease);
    expect([...registry.known()]).toMatchObject([{ registration: { state: 'ready' } }]);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0 });
    expect([...registry.known()]).toEqual([]);
  });

  it('ignores an accusation against a lease that was renewed recently', async () => {
    const clock = new ManualClock();
    const registry = createRegistry({ clock });
    const lease = await registry.register(replica('r1', {}), { host: 'h', ttlMs: 9000 }, () => {});
    clock.advance(4000);
    await registry.renew(lease);
    clock.advance(4499);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0, minSilentMs: 4500 });
    expect(listIds(registry)).toEqual(['r1']);
    clock.advance(1);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0, minSilentMs: 4500 });
    expect(listIds(registry)).toEqual([]);
  });

  it('lists the registrations at the time of the call, with each lease at the time of iteration', async () => {
    const clock = new ManualClock();
    const registry = createRegistry({ clock });
    const [first, second] = [
      await registry.register(replica('r1', {}), AT_HOME, () => {}),
      await registry.register(replica('r2', {}), AT_HOME, () => {}),
    ];
    const known = registry.known();
    clock.advance(1000);
    await registry.register(replica('r3', {}), AT_HOME, () => {});
    await registry.renew(first, 'unready');
    await registry.release(second, 'released');
    expect([...known]).toMatchObject([
      { registration: { replica: { id: 'r1' }, state: 'ready' }, lease: { seenAtMs: clock.nowMs() } },
      { registration: { replica: { id: 'r2' }, state: 'ready' }, lease: undefined },
    ]);
  });

  it('does not route to unready or draining replicas', async () => {
    const registry = createRegistry();
    const lease = await registry.register(replica('r1', { type: 'chat' }), AT_HOME, () => {});
    for (const [state, id] of [['unready'], ['ready', 'r1'], ['draining']] as const) {
      expect(await registry.renew(lease, state)).toBe('renewed');
      expect(registry.route(prepareQuery(), NONE)?.id).toBe(id);
      expect(listIds(registry)).toEqual(id === undefined ? [] : [id]);
      expect([...registry.known()]).toMatchObject([{ registration: { state } }]);
    }
  });

  it.each(['unready', 'draining'] as const)('does not route to a suspected replica that is %s', async (state) => {
    const clock = new ManualClock();
    const registry = createRegistry({ clock });
    const lease = await registry.register(replica('r1', { type: 'chat' }), AT_HOME, () => {});
    await registry.renew(lease, state);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 5000 });
    expect(registry.route(prepareQuery(), NONE)).toBeUndefined();
    expect([...registry.known()]).toMatchObject([{ registration: { state } }]);
    await registry.recordSignOfLife(lease);
    expect([...registry.known()]).toMatchObject([{ registration: { state } }]);
    await registry.renew(lease, 'ready');
    expect(registry.route(prepareQuery(), NONE)?.id).toBe('r1');
    await registry.renew(lease, state);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 5000 });
    clock.advance(60_000);
    expect([...registry.known()]).toEqual([]);
  });

  it('removes a replica that does not renew within its TTL, and notifies the holder', async () => {
    const clock = new ManualClock();
    const events = createRecordingEvents();
    const registry = createRegistry({ clock, events });
    const holder = vi.fn();
    const lease = await registry.register(replica('r1', {}), { host: 'h', ttlMs: 9000 }, holder);
    clock.advance(8999);
    await registry.renew(lease);
    clock.advance(8999);
    expect(listIds(registry)).toEqual(['r1']);
    clock.advance(1);
    expect(listIds(registry)).toEqual([]);
    expect(holder.mock.calls).toEqual([['expired']]);
    expect(events.all.at(-1)).toEqual({
      ...{ kind: 'removed', replicaId: 'r1', reason: 'expired' },
      lease: { host: 'h', livedMs: 17_999, silentMs: 9000 },
    });
    expect(await registry.renew(lease)).toBe('unknown');
  });

  it('suspects replicas that fell silent while this server was paused, until a sign of life or for a minute', async () => {
    const clock = new ManualClock();
    const registry = createRegistry({ clock });
    const lease = await registry.register(replica('alive', {}), { host: 'a', ttlMs: 9000 }, () => {});
    await registry.register(replica('dead', {}), { host: 'b', ttlMs: 9000 }, () => {});
    clock.pause(20_000);
    const listStates = (): string[] => [...registry.known()].map(({ registration: { state } }) => state);
    expect(listStates()).toEqual(['suspect', 'suspect']);
    await registry.renew(lease);
    expect(listStates()).toEqual(['ready', 'suspect']);
    clock.advance(8000);
    await registry.recordSignOfLife(lease);
    for (let at = 0; at < 7; at++) {
      clock.advance(8000);
      await registry.renew(lease);
    }
    expect(listIds(registry)).toEqual(['alive']);
  });

  it('reports a conflict when an id keeps changing owner', async () => {
    const events = createRecordingEvents();
    const registry = createRegistry({ events });
    for (let n = 0; n < 9; n++) await registry.register(replica('r1', {}), AT_HOME, () => {});
    const conflicts = events.all.filter(({ kind }) => kind === 'id_conflict');
    expect(conflicts).toEqual([{ kind: 'id_conflict', replicaId: 'r1' }]);
  });

  it('emits suspicion, its end, a late renewal, and the start and end of self-preservation', async () => {
    const clock = new ManualClock();
    const events = createRecordingEvents();
    const registry = createRegistry({ clock, events });
    const lease = await registry.register(replica('r1', {}), { host: 'h', ttlMs: 9000 }, () => {});
    clock.pause(20_000);
    const about = { replicaId: 'r1', host: 'h' };
    expect(events.all.slice(1)).toEqual([
      { kind: 'self_preservation_entered' },
      { kind: 'suspected', ...about, reason: 'expired' },
    ]);
    events.all.length = 0;
    await registry.renew(lease, 'draining');
    expect(events.all).toEqual([
      { kind: 'suspicion_ended', ...about, state: 'draining', silentMs: 20_000 },
      { kind: 'renewed_late', ...about, lateMs: 11_000 },
    ]);
    events.all.length = 0;
    for (let atMs = 0; atMs < 9000; atMs += 1000) {
      clock.advance(1000);
      await registry.renew(lease);
    }
    expect(events.all).toEqual([]);
    await registry.renew(lease, 'ready');
    clock.advance(1000);
    expect(events.all).toEqual([
      { kind: 'state_changed', replicaId: 'r1', state: 'ready' },
      { kind: 'self_preservation_left' },
    ]);
    await registry.close();
    expect(clock.pending()).toEqual([]);
  });

  it('does not report a renewal within the TTL as late, even if it ends a suspicion', async () => {
    const clock = new ManualClock();
    const events = createRecordingEvents();
    const registry = createRegistry({ clock, events });
    const lease = await registry.register(replica('r1', {}), { host: 'h', ttlMs: 9000 }, () => {});
    clock.advance(5000);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0, isLossy: true });
    await registry.renew(lease);
    expect(events.all.slice(1).map(({ kind }) => kind)).toEqual(['suspected', 'suspicion_ended']);
  });

  it('does not report a late renewal when an acknowledgement ends a suspicion after the TTL', async () => {
    const clock = new ManualClock();
    const events = createRecordingEvents();
    const registry = createRegistry({ clock, events });
    const lease = await registry.register(replica('r1', {}), { host: 'h', ttlMs: 9000 }, () => {});
    clock.advance(5000);
    await registry.accuse(lease, 'unacknowledged', { timerDelayMs: 0, isLossy: true });
    clock.advance(20_000);
    await registry.recordSignOfLife(lease);
    expect(events.all.slice(1).map(({ kind }) => kind)).toEqual(['suspected', 'suspicion_ended']);
  });

  it('notifies every holder when it closes', async () => {
    const registry = createRegistry();
    const ends: unknown[] = [];
    await registry.register(replica('r1', {}), AT_HOME, (end) => ends.push(end));
    await registry.register(replica('r2', {}), AT_HOME, (end) => ends.push(end));
    await registry.close();
    expect(ends).toEqual(['shutdown', 'shutdown']);
    expect(listIds(registry)).toEqual([]);
  });

  it('drops a lease that its store refused', async () => {
    const store = Object.assign(new MemoryStore(TEST_REGISTRY), { put: () => Promise.reject(new Error('full')) });
    const registry = new Registry({
      store,
      clock: new ManualClock(),
      random: createSeededRandom(1),
      ids: createCountingIds(),
      events: createRecordingEvents(),
    });
    const holder = vi.fn();
    await expect(registry.register(replica('r1', {}), AT_HOME, holder)).rejects.toThrow('full');
    await registry.close();
    expect(holder).not.toHaveBeenCalled();
  });

  it.each([1, 2, 3])(
    'loses no replica and keeps no dead one over random orders of register and close (seed %i)',
    async (seed) => {
      const registry = createRegistry({ seed });
      const random = createSeededRandom(seed);
      const drawBelow = (most: number): number => Math.floor(random.fraction() * most);
      /** The model: the holder of each id, and the open leases. */
      const holder = new Map<string, LeaseId>();
      const open: { id: string; lease: LeaseId }[] = [];
      for (let step = 0; step < 2000; step++) {
        if (open.length === 0 || random.fraction() < 0.5) {
          const id = `r${drawBelow(10)}`;
          const lease = await registry.register(replica(id, { n: step }), AT_HOME, () => {});
          holder.set(id, lease);
          open.push({ id, lease });
        } else {
          const [{ id, lease }] = open.splice(drawBelow(open.length), 1) as [{ id: string; lease: LeaseId }];
          await registry.release(lease, 'closed');
          if (holder.get(id) === lease) holder.delete(id);
        }
        expect(listIds(registry).sort()).toEqual([...holder.keys()].sort());
      }
    },
  );
});
