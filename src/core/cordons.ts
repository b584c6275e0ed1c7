import { type Cordon, chooseNewerCordon, isNewerCordon, isSameCordon } from './cordon.js';
import type { LeaseId, ReplicaId } from './ids.js';
import { takeReadyTurn } from './lease-renewals.js';
import type { LeaseTable } from './lease-table.js';
import type { Clock, Events, RegistrationStore, RegistryEvent } from './ports.js';
import type { Registration, Replica } from './replica.js';
import type { ReplicaList } from './replica-list.js';

/** Dependencies of cordons. */
export interface CordonsOptions<R extends Replica = Replica> {
  readonly store: RegistrationStore<R>;
  readonly clock: Clock;
  readonly events: Events<RegistryEvent>;
  readonly list: ReplicaList<R>;
  readonly leases: LeaseTable;
}

/** Limits on the remembered cordons of ids that are no longer registered: the time since they left, and their number. */
const DEPARTED_MEMORY_MS = 60 * 60 * 1000;
const MAX_DEPARTED = 10_000;

/**
 * Maximum time by which a reported cordon can be ahead of this server's clock. A later one is a wrong unit or a hostile
 * replica, and no cordon of an operator could replace it.
 */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

/**
 * The cordons of replica ids. A registered id has its cordon in the registration, so that registries with one store share
 * it. The cordon of an id that left is remembered for an hour, for the replica's next registration.
 */
export class Cordons<R extends Replica = Replica> {
  readonly #options: CordonsOptions<R>;
  /** The cordons of ids that left, with the time of leaving, oldest first. */
  readonly #departed = new Map<ReplicaId, { readonly cordon: Cordon; readonly atMs: number }>();

  constructor(options: CordonsOptions<R>) {
    this.#options = options;
  }

  /** Returns the newest cordon of an id; undefined if there is none. */
  find(id: ReplicaId): Cordon | undefined {
    const present = this.#options.list.get(id);
    if (present) return present.cordon;
    const departed = this.#departed.get(id);
    return departed && this.#options.clock.nowMs() - departed.atMs <= DEPARTED_MEMORY_MS ? departed.cordon : undefined;
  }

  /** Returns the newest cordon of the id of a lease that this server granted. */
  findByLease(lease: LeaseId): Cordon | undefined {
    const active = this.#options.leases.get(lease);
    return active && this.find(active.replicaId);
  }

  /**
   * Cordons or uncordons an id. Resolves to the new cordon, to `unknown` if the id is neither registered nor remembered, or
   * to `too_soon` if a large registration would become routable too often.
   */
  async set(id: ReplicaId, change: Pick<Cordon, 'cordoned' | 'reason'>): Promise<Cordon | 'unknown' | 'too_soon'> {
    const { list, clock } = this.#options;
    const previous = this.find(id);
    if (!previous && !list.get(id)) return 'unknown';
    const atMs = Math.max(clock.epochMs(), (previous?.atMs ?? 0) + 1);
    const cordon = { cordoned: change.cordoned, reason: change.reason, atMs };
    return (await this.#apply(id, cordon)) ? cordon : 'too_soon';
  }

  /** Applies a cordon that the holder of a lease repeats, if it is newer than the known one. */
  async adopt(lease: LeaseId, cordon: Cordon): Promise<void> {
    const id = this.#options.leases.get(lease)?.replicaId;
    if (id !== undefined && isNewerCordon(cordon, this.find(id)) && this.#isPlausible(cordon)) {
      await this.#apply(id, cordon);
    }
  }

  /** Returns the cordon for a new registration: the known one, unless the one that the registration repeats is newer. */
  chooseForRegistration(id: ReplicaId, repeated: Cordon | undefined): Cordon | undefined {
    return chooseNewerCordon(repeated && this.#isPlausible(repeated) ? repeated : undefined, this.find(id));
  }

  /** Emits an event if a cordon that takes effect differs from the previous one. */
  emitChange(replicaId: ReplicaId, previous: Cordon | undefined, cordon: Cordon | undefined): void {
    if (isSameCordon(cordon, previous)) return;
    const { events } = this.#options;
    if (cordon?.cordoned) events.emit({ kind: 'cordoned', replicaId, reason: cordon.reason });
    else if (previous?.cordoned) events.emit({ kind: 'uncordoned', replicaId });
  }

  /** Remembers the cordon of a registration that was removed. */
  remember({ replica: { id }, cordon }: Registration<R>): void {
    if (!cordon) return;
    const nowMs = this.#options.clock.nowMs();
    this.#departed.delete(id);
    this.#departed.set(id, { cordon, atMs: nowMs });
    for (const [old, { atMs }] of this.#departed) {
      if (nowMs - atMs <= DEPARTED_MEMORY_MS && this.#departed.size <= MAX_DEPARTED) break;
      this.#departed.delete(old);
    }
  }

  /** Forgets the remembered cordon of an id that is registered again. */
  forget(id: ReplicaId): void {
    this.#departed.delete(id);
  }

  /** Returns false, and changes nothing, if a large registration would become routable too often. */
  async #apply(id: ReplicaId, cordon: Cordon): Promise<boolean> {
    const { store, clock, list, leases } = this.#options;
    const present = list.get(id);
    const departed = this.#departed.get(id);
    if (present) {
      const lease = leases.get(present.lease);
      const becomesRoutable = present.cordon?.cordoned && !cordon.cordoned && lease?.declared === 'ready';
      if (becomesRoutable && !takeReadyTurn(lease, clock.nowMs())) return false;
      await store.change(present.lease, { cordon });
    } else if (departed) {
      this.emitChange(id, departed.cordon, cordon);
      this.#departed.set(id, { cordon, atMs: departed.atMs });
    }
    return true;
  }

  #isPlausible({ atMs }: Cordon): boolean {
    return atMs <= this.#options.clock.epochMs() + MAX_AHEAD_MS;
  }
}
