import type { LeaseId, ReplicaId } from '../core/ids.js';
import type { RegistrationStore, StoreEvent } from '../core/ports.js';
import type { Registration } from '../core/replica.js';

/** A store in this process, without persistence. Subscribers receive each change before the call returns. */
export function createMemoryStore(): RegistrationStore {
  const byReplica = new Map<ReplicaId, Registration>();
  const byLease = new Map<LeaseId, Registration>();
  const listeners = new Set<(event: StoreEvent) => void>();

  function notify(event: StoreEvent): void {
    for (const listener of listeners) listener(event);
  }

  return {
    // An empty store is complete at once.
    async start() {},
    async put(registration) {
      const previous = byReplica.get(registration.replica.id);
      if (previous) byLease.delete(previous.lease);
      byReplica.set(registration.replica.id, registration);
      byLease.set(registration.lease, registration);
      notify({ kind: 'put', registration });
    },
    async change(lease, change) {
      const previous = byLease.get(lease);
      if (!previous) return;
      // Names each field, so that all registrations share one V8 object shape.
      const registration = {
        lease,
        owner: previous.owner,
        replica: change.replica ?? previous.replica,
        state: change.state ?? previous.state,
        sinceEpochMs: change.sinceEpochMs ?? previous.sinceEpochMs,
      };
      byReplica.set(registration.replica.id, registration);
      byLease.set(lease, registration);
      notify({ kind: 'change', registration });
    },
    async delete(lease, end) {
      const registration = byLease.get(lease);
      if (!registration) return;
      byLease.delete(lease);
      byReplica.delete(registration.replica.id);
      notify({ kind: 'delete', lease, replicaId: registration.replica.id, end });
    },
    subscribe(listener) {
      for (const registration of byReplica.values()) listener({ kind: 'put', registration });
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    async close() {
      listeners.clear();
    },
  };
}
