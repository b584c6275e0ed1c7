import { describe, expect, it } from 'vitest';
import { asLeaseId } from '../../src/core/ids.js';
import type { RegistrationStore, StoreEvent } from '../../src/core/ports.js';
import { registration, replica } from '../support/replicas.js';

/** What every registration store must do. */
export function registrationStoreContract(name: string, create: () => RegistrationStore): void {
  describe(`${name} as a registration store`, () => {
    const first = registration('l1', replica('r1', { model: 'a' }));
    const second = registration('l2', replica('r1', { model: 'b' }));

    function watched(): { store: RegistrationStore; events: StoreEvent[] } {
      const store = create();
      const events: StoreEvent[] = [];
      store.subscribe((event) => events.push(event));
      return { store, events };
    }

    it('tells of a registration before put resolves', async () => {
      const { store, events } = watched();
      await store.put(first);
      expect(events).toEqual([{ kind: 'put', registration: first }]);
    });

    it('tells who has left, and how', async () => {
      const { store, events } = watched();
      await store.put(first);
      await store.delete(first.lease, 'shutdown');
      expect(events[1]).toEqual({ kind: 'delete', lease: 'l1', replicaId: 'r1', end: 'shutdown' });
    });

    it('replaces a registration with no moment in between', async () => {
      const { store, events } = watched();
      await store.put(first);
      await store.put(second);
      expect(events.map(({ kind }) => kind)).toEqual(['put', 'put']);
    });

    it('ignores the lease that was replaced', async () => {
      const { store, events } = watched();
      await store.put(first);
      await store.put(second);
      await store.delete(first.lease, 'closed');
      expect(events).toHaveLength(2);
      await store.delete(second.lease, 'closed');
      expect(events).toHaveLength(3);
    });

    it('tells what has changed in a registration, unless its lease was replaced', async () => {
      const { store, events } = watched();
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

    it('ignores a lease it never had', async () => {
      const { store, events } = watched();
      await store.delete(asLeaseId('l9'), 'closed');
      expect(events).toEqual([]);
    });

    it('tells a late subscriber what it holds, and one that left nothing more', async () => {
      const store = create();
      await store.put(first);
      const events: StoreEvent[] = [];
      const unsubscribe = store.subscribe((event) => events.push(event));
      expect(events).toEqual([{ kind: 'put', registration: first }]);
      unsubscribe();
      await store.delete(first.lease, 'closed');
      expect(events).toHaveLength(1);
    });
  });
}
