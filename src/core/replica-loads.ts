import type { LeaseId } from './ids.js';
import type { Lease, LeaseTable } from './lease-table.js';
import type { ReplicaLoad } from './load.js';

/** Called with a lease whose holder has reported its load. */
export type LoadListener = (lease: Pick<Lease, 'id' | 'replicaId' | 'load'>) => void;

/**
 * The loads that the holders of this server's leases report. A load is part of the lease and ends with it. It does not change
 * the registration: no store and no event has it.
 */
export class ReplicaLoads {
  readonly #leases: LeaseTable;
  readonly #listeners = new Set<LoadListener>();

  constructor(leases: LeaseTable) {
    this.#leases = leases;
  }

  /** Records the load that the holder of a lease reports. Has no effect after the end of the lease. */
  record(id: LeaseId, load: ReplicaLoad): void {
    const lease = this.#leases.get(id);
    if (!lease) return;
    lease.load = load;
    for (const listener of this.#listeners) listener(lease);
  }

  /** Calls the listener for each later report, also of an unchanged load. The returned function unsubscribes. */
  subscribe(listener: LoadListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}
