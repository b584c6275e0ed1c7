import type { AnyserveError } from './errors.js';
import { createIdConflicts } from './id-conflicts.js';
import type { LeaseId, ReplicaId, ServerId } from './ids.js';
import type { PreparedQuery } from './index/prepared-query.js';
import { LeaseExpiry, type Silence } from './lease-expiry.js';
import { type CapabilityUpdate, LeaseRenewals, type RenewalResult } from './lease-renewals.js';
import { createLease, type Lease, type LeaseHolder, LeaseTable, type LeaseTerms, toEndedLease } from './lease-table.js';
import type { Clock, Events, Ids, Random, RegistrationStore, RegistryEvent, StoreEvent } from './ports.js';
import { estimateRegistrationBytes } from './registration-bytes.js';
import { checkLeaseLimits, NO_REGISTRY_LIMITS, type RegistryLimits } from './registry-limits.js';
import {
  type DeclaredState,
  type InferredEnd,
  isRoutable,
  type LeaseEnd,
  type Registration,
  type Replica,
} from './replica.js';
import { ReplicaList } from './replica-list.js';
import type { ReplicaPage } from './replica-pages.js';
import { createSelfPreservation } from './self-preservation.js';

/** Dependencies and limits of a registry. */
export interface RegistryOptions {
  readonly store: RegistrationStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
  readonly events: Events<RegistryEvent>;
  readonly limits?: RegistryLimits | undefined;
}

/** A registration, with what this server knows of its lease. */
export interface KnownReplica {
  readonly registration: Registration;
  /** Undefined for a lease that has ended, or that another server granted. */
  readonly lease: Pick<Lease, 'host' | 'ttlMs' | 'seenAtMs'> | undefined;
}

/** The live replicas: grants and ends their leases, and picks the one that answers a query. */
export class Registry {
  readonly #store: RegistrationStore;
  readonly #clock: Clock;
  readonly #ids: Ids;
  readonly #events: Events<RegistryEvent>;
  readonly #limits: RegistryLimits;
  /** Owner of the registrations that this registry puts in the store. */
  readonly #owner: ServerId;
  readonly #list: ReplicaList;
  readonly #leases: LeaseTable;
  readonly #expiry: LeaseExpiry;
  readonly #renewals: LeaseRenewals;
  readonly #takeovers = createIdConflicts();
  /** Leases whose holders closed their connection, until the store has deleted their registrations. */
  readonly #closing = new Map<LeaseId, Lease>();
  readonly #unsubscribe: () => void;

  constructor({ store, clock, random, ids, events, limits = NO_REGISTRY_LIMITS }: RegistryOptions) {
    const selfPreservation = createSelfPreservation();
    this.#store = store;
    this.#clock = clock;
    this.#ids = ids;
    this.#owner = ids.server();
    this.#events = events;
    this.#limits = limits;
    this.#list = new ReplicaList(random);
    this.#leases = new LeaseTable(selfPreservation);
    const leases = this.#leases;
    this.#expiry = new LeaseExpiry({ store, clock, events, leases, selfPreservation });
    this.#renewals = new LeaseRenewals({ clock, list: this.#list, leases, expiry: this.#expiry, limits });
    this.#unsubscribe = store.subscribe((event) => this.#apply(event));
  }

  /**
   * Returns why a host can't get a lease for a replica now; undefined when it can. `unavailable`: the registry is full;
   * `resource_exhausted`: the host has its share. A registration that it replaces makes room for it.
   */
  checkLimits(replica: Replica, host: string): AnyserveError | undefined {
    const held = this.#list.get(replica.id);
    return checkLeaseLimits(this.#leases, this.#limits, {
      host,
      bytes: estimateRegistrationBytes(replica),
      isNew: held === undefined,
      replaced: held && this.#leases.get(held.lease),
      replicas: this.#list.size,
    });
  }

  /**
   * Registers a replica in place of the one that had its id, and grants it a lease. The replica is routable before this
   * resolves. `holder` is called when the lease ends for a reason other than the holder's own.
   */
  async register(replica: Replica, terms: LeaseTerms, holder: LeaseHolder): Promise<LeaseId> {
    const held = { id: replica.id, bytes: estimateRegistrationBytes(replica) };
    const lease = createLease(this.#ids.lease(), held, terms, holder, this.#clock.nowMs());
    this.#leases.grant(lease);
    try {
      const sinceEpochMs = this.#clock.epochMs();
      await this.#store.put({ lease: lease.id, owner: this.#owner, replica, state: lease.declared, sinceEpochMs });
    } catch (error) {
      this.#leases.end(lease.id);
      throw error;
    }
    if (this.#leases.get(lease.id)) this.#expiry.watch(lease);
    return lease.id;
  }

  /**
   * Renews the lease for another TTL, and applies the state and the capabilities that the replica reports, both or neither:
   * `too_soon` for capabilities within a second of the last ones and for a large registration that becomes ready too often,
   * or the reason why the registry has no room for them. The lease is renewed in these cases, too.
   */
  renew(id: LeaseId, declared?: DeclaredState, offer?: CapabilityUpdate): Promise<RenewalResult> {
    return this.#renewals.renew(id, declared, offer);
  }

  /** Records a sign of life of the lease's holder that is not a renewal. */
  async recordSignOfLife(id: LeaseId): Promise<void> {
    const lease = this.#leases.get(id);
    if (lease) await this.#expiry.recordSignOfLife(lease);
  }

  /** Ends a lease and its registration. Resolves to false when it has ended already; then nothing changes. */
  async release(id: LeaseId, end: LeaseEnd): Promise<boolean> {
    const lease = this.#leases.get(id);
    if (!lease) return false;
    if (end === 'closed') {
      // A holder that closed its connection can't be notified.
      this.#leases.end(id);
      this.#closing.set(id, lease);
    }
    try {
      await this.#store.delete(id, end);
    } finally {
      this.#closing.delete(id);
    }
    return true;
  }

  /**
   * Ends a lease for silence, or only suspects it in self-preservation. A suspicion ends with a sign of life, or after
   * 60 s with the lease. An unready or draining replica stays unroutable while it is suspected.
   */
  async accuse(lease: LeaseId, end: InferredEnd, silence: Silence): Promise<void> {
    await this.#expiry.accuse(lease, end, silence);
  }

  /**
   * Picks a matching replica uniformly: one of the ready ones, else one of the suspects. Excluded replicas are picked only
   * when no other matches.
   */
  route(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>): Replica | undefined {
    return this.#list.choose(query, excluded)?.replica;
  }

  /** The routable replicas in the order of registration. One that registered again keeps its place. */
  replicas(): Replica[] {
    return [...this.#list.all()].filter(isRoutable).map(({ replica }) => replica);
  }

  /** All registrations in the same order, in immutable pages: a page that didn't change is the same object. */
  pages(): readonly ReplicaPage[] {
    return this.#list.pages();
  }

  /**
   * All registrations as of this call, in the same order. Leases are looked up while iterating, so that a long list needs
   * no long turn. A lease that ended since is undefined.
   */
  known(): Iterable<KnownReplica> {
    return this.#knownIn(this.#list.pages());
  }

  /** The registration of one replica, as in {@link known}. */
  find(id: ReplicaId): KnownReplica | undefined {
    const registration = this.#list.get(id);
    return registration && { registration, lease: this.#leases.get(registration.lease) };
  }

  /** Ends every lease of this registry, notifying the holders, and leaves the store to others that use it. */
  async close(): Promise<void> {
    await Promise.all([...this.#leases.running()].map(({ id }) => this.#store.delete(id, 'shutdown')));
    this.#expiry.close();
    this.#unsubscribe();
  }

  *#knownIn(pages: readonly ReplicaPage[]): Generator<KnownReplica> {
    for (const { registrations } of pages) {
      for (const registration of registrations) yield { registration, lease: this.#leases.get(registration.lease) };
    }
  }

  /** The only writer of the list. Every change comes through here, from the store. */
  #apply(event: StoreEvent): void {
    switch (event.kind) {
      case 'put':
        this.#applyPut(event.registration);
        break;
      case 'change':
        this.#applyChange(event.registration);
        break;
      case 'delete':
        this.#applyDelete(event.lease, event.replicaId, event.end);
        break;
      default:
        event satisfies never;
    }
  }

  #applyPut(registration: Registration): void {
    const { lease, replica } = registration;
    const previous = this.#list.get(replica.id);
    this.#list.put(registration);
    if (previous && previous.lease !== lease) this.#supersede(previous);
    this.#events.emit({ kind: 'registered', replicaId: replica.id, endpoint: replica.endpoint });
  }

  #supersede({ lease, replica: { id: replicaId } }: Registration): void {
    const nowMs = this.#clock.nowMs();
    const ended = this.#leases.end(lease);
    this.#leases.remember(lease, nowMs);
    this.#events.emit({ kind: 'removed', replicaId, reason: 'superseded', lease: toEndedLease(ended, nowMs) });
    if (this.#takeovers.note(replicaId, nowMs)) this.#events.emit({ kind: 'id_conflict', replicaId });
    ended?.holder('superseded');
  }

  #applyChange(registration: Registration): void {
    const { replica, state, lease } = registration;
    const previous = this.#list.get(replica.id);
    if (previous?.lease !== lease) return;
    this.#list.put(registration);
    const { id: replicaId, capabilities } = replica;
    if (replica !== previous.replica) {
      this.#events.emit({ kind: 'capabilities_changed', replicaId, count: capabilities.length });
    }
    if (state === previous.state) return;
    // `suspected` and `suspicion_ended` already say this for the leases of this server.
    const isSuspicion = state === 'suspect' || previous.state === 'suspect';
    if (isSuspicion && this.#leases.get(lease)) return;
    this.#events.emit({ kind: 'state_changed', replicaId, state });
  }

  #applyDelete(lease: LeaseId, replicaId: ReplicaId, reason: LeaseEnd | undefined): void {
    const running = this.#leases.end(lease);
    if (this.#list.get(replicaId)?.lease === lease) {
      this.#list.delete(replicaId);
      const ended = toEndedLease(running ?? this.#closing.get(lease), this.#clock.nowMs());
      this.#events.emit({ kind: 'removed', replicaId, reason, lease: ended });
    }
    running?.holder(reason);
  }
}
