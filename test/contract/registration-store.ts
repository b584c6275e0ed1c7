import { afterEach, describe, expect, it } from 'vitest';
import { asLeaseId, asServerId } from '../../src/core/ids.js';
import type { RegistrationStore, StoreEvent } from '../../src/core/ports.js';
import { Registry } from '../../src/core/registry.js';
import { ManualClock } from '../support/manual-clock.js';
import { createCountingIds, createRecordingEvents, prepareQuery, registration, replica } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';

/**
 * Defines the tests that every registration store must pass. `open` creates a store without registrations. It is started, and
 * closed after the test.
 */
export function registrationStoreContract(name: string, open: () => RegistrationStore): void {
  describe(`${name} as a registration store`, () => {
    const opened: RegistrationStore[] = [];

    afterEach(async () => {
      await Promise.all(opened.splice(0).map((store) => store.close()));
    });

    async function create(): Promise<RegistrationStore> {
      const store = open();
      opened.push(store);
      await store.start();
      return store;
    }

    const first = registration('l1', replica('r1', { model: 'a' }));
    const second = registration('l2', replica('r1', { model: 'b' }));

    async function createWatchedStore(): Promise<{ store: RegistrationStore; events: StoreEvent[] }> {
      const store = await create();
      const events: StoreEvent[] = [];
      store.subscribe((event) => events.push(event));
      return { store, events };
    }

    it('notifies subscribers of a registration before put resolves', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      expect(events).toEqual([{ kind: 'put', registration: first }]);
    });

    it('notifies subscribers of a deletion and its reason', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      await store.delete(first.lease, 'shutdown');
      expect(events[1]).toEqual({ kind: 'delete', lease: 'l1', replicaId: 'r1', end: 'shutdown' });
    });

    it('replaces a registration atomically', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      await store.put(second);
      expect(events.map(({ kind }) => kind)).toEqual(['put', 'put']);
    });

    it('rejects a registration that must not replace the present one, and keeps that one', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first, () => false);
      const asked: unknown[] = [];
      const put = store.put(second, (present) => {
        asked.push(present.replica);
        return false;
      });
      await expect(put).rejects.toMatchObject({ code: 'permission_denied', message: 'the id "r1" is taken' });
      expect(asked).toContainEqual(first.replica);
      await store.change(second.lease, { state: 'draining' });
      expect(events).toEqual([{ kind: 'put', registration: first }]);
      await store.put(second, () => true);
      expect(events.slice(1)).toEqual([{ kind: 'put', registration: second }]);
    });

    it('ignores a lease that was replaced', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      await store.put(second);
      await store.delete(first.lease, 'closed');
      expect(events).toHaveLength(2);
      await store.delete(second.lease, 'closed');
      expect(events).toHaveLength(3);
    });

    it('notifies subscribers of a change, unless the lease was replaced', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      const state = { state: 'draining', sinceEpochMs: 7 } as const;
      await store.change(first.lease, state);
      expect(events[1]).toEqual({ kind: 'change', registration: { ...first, ...state } });
      const other = replica('r1', { model: 'c' });
      await store.change(first.lease, { replica: other });
      expect(events[2]).toEqual({ kind: 'change', registration: { ...first, ...state, replica: other } });
      await store.put(second);
      await store.change(first.lease, { state: 'ready', sinceEpochMs: 8 });
      expect(events).toHaveLength(4);
    });

    it('keeps the weight of a registration that changes', async () => {
      const { store, events } = await createWatchedStore();
      await store.put({ ...first, weight: 5 });
      await store.change(first.lease, { state: 'draining' });
      expect(events.at(-1)).toMatchObject({ registration: { state: 'draining', weight: 5 } });
    });

    it('keeps the newer of two cordons', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      const [older, newer] = [1, 2].map((atMs) => ({ cordoned: atMs === 1, reason: '', atMs }));
      await store.change(first.lease, { cordon: newer });
      await store.change(first.lease, { cordon: older });
      expect(events.at(-1)).toEqual({ kind: 'change', registration: { ...first, cordon: newer } });
      await store.change(first.lease, { state: 'draining' });
      expect(events.at(-1)).toMatchObject({ registration: { state: 'draining', cordon: newer } });
    });

    it('ignores an unknown lease', async () => {
      const { store, events } = await createWatchedStore();
      await store.delete(asLeaseId('l9'), 'closed');
      expect(events).toEqual([]);
    });

    it('sends its registrations to a late subscriber, and nothing after unsubscribing', async () => {
      const store = await create();
      await store.put(first);
      const events: StoreEvent[] = [];
      const unsubscribe = store.subscribe((event) => events.push(event));
      expect(events).toEqual([{ kind: 'put', registration: first }]);
      unsubscribe();
      await store.delete(first.lease, 'closed');
      expect(events).toHaveLength(1);
    });

    it('resolves each start when its subscribers have the first complete list', async () => {
      const { store, events } = await createWatchedStore();
      await store.put(first);
      await Promise.all([store.start(), store.start()]);
      await store.start();
      expect(events).toEqual([{ kind: 'put', registration: first }]);
    });

    it('keeps the owner of a registration that changes', async () => {
      const { store, events } = await createWatchedStore();
      await store.put({ ...first, owner: asServerId('s7') });
      await store.change(first.lease, { state: 'draining' });
      expect(events.map((event) => 'registration' in event && event.registration.owner)).toEqual(['s7', 's7']);
    });

    it('has no subscribers after it is closed', async () => {
      const { store, events } = await createWatchedStore();
      await store.close();
      await store.put(first);
      expect(events).toEqual([]);
    });

    describe('shared by two registries', () => {
      const NOBODY: ReadonlySet<never> = new Set();
      const [a, b] = [replica('a', { model: 'a' }), replica('b', { model: 'b' })];

      async function createSharedRegistries() {
        const store = await create();
        const options = { store, clock: new ManualClock(), random: createSeededRandom(1), ids: createCountingIds() };
        const events = createRecordingEvents();
        return {
          store,
          events,
          left: new Registry({ ...options, events: createRecordingEvents() }),
          right: new Registry({ ...options, events }),
        };
      }

      it('lets each route to the replicas of both, and records the owner of each', async () => {
        const { store, left, right } = await createSharedRegistries();
        await left.register(a, { host: 'h' }, () => {});
        await right.register(b, { host: 'h' }, () => {});
        for (const registry of [left, right]) {
          expect(registry.route(prepareQuery({ model: 'a' }), NOBODY)?.id).toBe('a');
          const known = [...registry.known()].map(({ registration: { owner } }) => owner);
          const { serverId } = store;
          expect(known).toEqual(serverId === undefined ? ['server-1', 'server-2'] : [serverId, serverId]);
        }
      });

      it('stays open when one of them closes, which ends only its own leases', async () => {
        const { left, right, events } = await createSharedRegistries();
        const [ofLeft, ofRight]: string[][] = [[], []];
        await left.register(a, { host: 'h' }, (end) => ofLeft?.push(`${end}`));
        await right.register(b, { host: 'h' }, (end) => ofRight?.push(`${end}`));
        await left.close();
        expect([ofLeft, ofRight]).toEqual([['shutdown'], []]);
        expect(right.replicas().map(({ id }) => id)).toEqual(['b']);
        expect(events.all.at(-1)).toEqual({ kind: 'removed', replicaId: 'a', reason: 'shutdown', lease: undefined });
        await right.register(a, { host: 'h' }, () => {});
        expect(right.route(prepareQuery({ model: 'a' }), NOBODY)?.id).toBe('a');
        expect(left.replicas().map(({ id }) => id)).toEqual(['b']);
      });

      it('notifies the holder at one when the other takes over the id', async () => {
        const { left, right } = await createSharedRegistries();
        const ends: unknown[] = [];
        await left.register(a, { host: 'h' }, (end) => ends.push(end));
        await right.register(a, { host: 'g' }, () => {});
        expect(ends).toEqual(['superseded']);
        await left.close();
        expect(right.replicas().map(({ id }) => id)).toEqual(['a']);
      });
    });
  });
}
