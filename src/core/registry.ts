import type { CapabilityQuery } from './capability.js';
import { createCapabilityIndex } from './capability-index.js';
import { choose } from './choice.js';
import type { LeaseId, ReplicaId } from './ids.js';
import { createLeaseTable, type LeaseHolder } from './lease-table.js';
import type { Ids, Log, Random, RegistrationStore, StoreEvent } from './ports.js';
import type { LeaseEnd, Replica } from './replica.js';

/** What a registry needs from the world. */
export interface RegistryOptions {
  readonly store: RegistrationStore;
  readonly random: Random;
  readonly ids: Ids;
  readonly log: Log;
}

/** The list of the replicas that live: who is in it, who leaves it, and which of them answers a query. */
export interface Registry {
  /**
   * Puts a replica in the list, in the place of whatever had its id, and grants it a lease. The replica can be
   * routed to before this resolves. `holder` is told when the lease ends for a reason that is not its own.
   */
  register(replica: Replica, holder: LeaseHolder): Promise<LeaseId>;
  /** Ends a lease, and with it the registration it names. An ended lease changes nothing. */
  release(lease: LeaseId, end: LeaseEnd): Promise<void>;
  /** A matching replica, uniformly chosen; see {@link choose} for what `excluded` means. */
  route(query: CapabilityQuery, excluded: ReadonlySet<ReplicaId>): Replica | undefined;
  /** All replicas in the order of registration; one that registered again keeps its place. */
  replicas(): Replica[];
  /** Ends every lease of this server, telling the holders, and closes the store. */
  close(): Promise<void>;
}

/** A registry over a store. */
export function createRegistry({ store, random, ids, log }: RegistryOptions): Registry {
  const index = createCapabilityIndex();
  const leases = createLeaseTable();

  /** The index's one writer: everything that changes the list comes through here, from the store. */
  function apply(event: StoreEvent): void {
    switch (event.kind) {
      case 'put': {
        const { lease, replica } = event.registration;
        const previous = index.get(replica.id);
        index.put(event.registration);
        log.info(`registered ${JSON.stringify(replica.id)} at ${replica.endpoint}`);
        if (previous && previous.lease !== lease) leases.end(previous.lease, 'superseded');
        break;
      }
      case 'delete':
        if (index.get(event.replicaId)?.lease === event.lease) {
          index.delete(event.replicaId);
          log.info(`removed ${JSON.stringify(event.replicaId)}: ${event.end}`);
        }
        leases.end(event.lease, event.end);
        break;
      default:
        event satisfies never;
    }
  }

  const unsubscribe = store.subscribe(apply);

  return {
    async register(replica, holder) {
      const lease = ids.lease();
      leases.grant(lease, holder);
      try {
        await store.put({ lease, replica });
      } catch (error) {
        leases.giveUp(lease);
        throw error;
      }
      return lease;
    },
    async release(lease, end) {
      if (leases.giveUp(lease)) await store.delete(lease, end);
    },
    route: (query, excluded) => choose(index.match(query), excluded, random)?.replica,
    replicas: () => [...index.all()].map(({ replica }) => replica),
    async close() {
      await Promise.all(leases.running().map((lease) => store.delete(lease, 'shutdown')));
      unsubscribe();
      await store.close();
    },
  };
}
