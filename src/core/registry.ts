import { Cordons } from './cordons.js';
import { AnyserveError } from './errors.js';
import { createIdConflicts } from './id-conflicts.js';
import { addServer, type LeaseId, type RegistryId, type ReplicaId, type ServerId } from './ids.js';
import type { SearchResult } from './index/capability-index.js';
import type { PreparedFilter } from './index/prepared-filter.js';
import type { PreparedQuery } from './index/prepared-query.js';
import type { LeaseCounts } from './lease-counts.js';
import { LeaseExpiry, type Silence } from './lease-expiry.js';
import { type LeaseLocation, locateLease } from './lease-location.js';
import { type CapabilityUpdate, LeaseRenewals, type RenewalResult } from './lease-renewals.js';
import { createLease, type Lease, type LeaseHolder, LeaseTable, type LeaseTerms, toEndedLease } from './lease-table.js';
import type { CanReplace, Clock, Events, Ids, Random, RegistrationStore, RegistryEvent, StoreEvent } from './ports.js';
import type { Protocol } from './protocol.js';
import { estimateRegistrationBytes } from './registration-bytes.js';
import { RegistryChanges } from './registry-changes.js';
import { checkLeaseLimits, NO_REGISTRY_LIMITS, type RegistryLimits } from './registry-limits.js';
import {
  type DeclaredState,
  type InferredEnd,
  type Instance,
  isRoutable,
  isSameInstance,
  type LeaseEnd,
  type NumberedInstance,
  type Registration,
  type Replica,
} from './replica.js';
import { ReplicaList } from './replica-list.js';
import { ReplicaLoads } from './replica-loads.js';
import type { ReplicaPage } from './replica-pages.js';
import { type Scope, WHOLE_REGISTRY } from './scope.js';
import { createSelfPreservation } from './self-preservation.js';

/** Dependencies and limits of a registry. */
export interface RegistryOptions<R extends Replica = Replica> {
  readonly store: RegistrationStore<R>;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
  readonly events: Events<RegistryEvent>;
  readonly limits?: RegistryLimits | undefined;
}

/** A registration and its lease, if this server granted it. */
export interface KnownReplica<R extends Replica = Replica> {
  readonly registration: Registration<R>;
  /** Undefined if the lease has ended or another server granted it. */
  readonly lease: Pick<Lease, 'host' | 'ttlMs' | 'seenAtMs' | 'load'> | undefined;
}

/** The live replicas. Grants and ends their leases, and picks a replica for a query. Returns replicas of the type that it was given. */
export class Registry<R extends Replica = Replica> {
  /** All capability objects can be seen and registered. See `RegistryAccess`. */
  readonly scope: Scope = WHOLE_REGISTRY;
  /** The operators' decisions which replicas get no calls. */
  readonly cordons: Cordons<R>;
  /** The loads that replicas report. */
  readonly loads: ReplicaLoads;
  /** The changes of the list of registrations. */
  readonly changes: RegistryChanges<R>;
  readonly #store: RegistrationStore<R>;
  readonly #clock: Clock;
  readonly #ids: Ids;
  readonly #events: Events<RegistryEvent>;
  readonly #limits: RegistryLimits;
  /** Owner of the registrations that this registry puts in the store. */
  readonly #owner: ServerId;
  readonly #list: ReplicaList<R>;
  readonly #leases: LeaseTable;
  readonly #expiry: LeaseExpiry<R>;
  readonly #renewals: LeaseRenewals<R>;
  readonly #idConflicts = createIdConflicts();
  /** Leases whose holders closed their connection, until the store has deleted their registrations. */
  readonly #closing = new Map<LeaseId, Lease>();
  readonly #unsubscribe: () => void;

  constructor({ store, clock, random, ids, events, limits = NO_REGISTRY_LIMITS }: RegistryOptions<R>) {
    const selfPreservation = createSelfPreservation();
    this.#store = store;
    this.#clock = clock;
    this.#ids = ids;
    this.#owner = store.serverId ?? ids.createServerId();
    this.#events = events;
    this.#limits = limits;
    this.changes = new RegistryChanges(this.#owner);
    this.#list = new ReplicaList(random);
    this.#leases = new LeaseTable(selfPreservation);
    const leases = this.#leases;
    this.loads = new ReplicaLoads(leases);
    this.#expiry = new LeaseExpiry({ store, clock, events, leases, selfPreservation });
    this.#renewals = new LeaseRenewals({ clock, list: this.#list, leases, expiry: this.#expiry, limits });
    this.cordons = new Cordons({ store, clock, events, list: this.#list, leases });
    store.publishHosts?.(() => selfPreservation.countHosts(leases.hosts, clock.nowMs()));
    this.#unsubscribe = store.subscribe((event) => this.#apply(event));
  }

  /** Id of the registry: API servers that share a store share it. Undefined until the store knows it. */
  get id(): RegistryId | undefined {
    return this.#store.registryId;
  }

  /** Whether most hosts fell silent at once, so that silent replicas are suspected instead of removed. */
  get isInSelfPreservation(): boolean {
    return this.#expiry.isInSelfPreservation;
  }

  /** Counts of the leases of this server. */
  get leaseCounts(): LeaseCounts {
    return this.#leases.counts;
  }

  /**
   * Maximum age of what this server knows about the registrations of other servers, in ms. Infinity before the first complete
   * list. Undefined if the registry isn't shared.
   */
  get stalenessMs(): number | undefined {
    return this.#store.stalenessMs;
  }

  /**
   * Returns why a host can't get a lease for a replica now; undefined if it can. `unavailable`: the registry is full.
   * `resource_exhausted`: the host has reached its own limit. The space of a registration that would be replaced counts as free.
   * `already_exists`: the same process has a newer registration.
   */
  checkRegistration(
    replica: Replica,
    { host, instance }: Pick<LeaseTerms, 'host' | 'instance'>,
  ): AnyserveError | undefined {
    const held = this.#list.get(replica.id);
    const lease = held && this.#leases.get(held.lease);
    return (
      checkSeq(instance, lease?.instance ?? held?.instance) ??
      checkLeaseLimits(this.#leases, this.#limits, {
        host,
        bytes: estimateRegistrationBytes(replica),
        isNew: held === undefined,
        replaced: lease,
        replicas: this.#list.size,
      })
    );
  }

  /**
   * Registers a replica and grants it a lease. Replaces the registration with the same id. The replica is routable before this
   * resolves. `holder` is called if the lease ends without the holder ending it. Rejects with `permission_denied` if `canReplace`
   * returns false for the present registration of the id, here or at another API server.
   */
  async register(replica: R, terms: LeaseTerms, holder: LeaseHolder, canReplace?: CanReplace): Promise<LeaseId> {
    const held = { id: replica.id, bytes: estimateRegistrationBytes(replica) };
    const lease = createLease(this.#createLeaseId(), held, terms, holder, this.#clock.nowMs());
    this.#leases.grant(lease);
    try {
      const sinceEpochMs = this.#clock.epochMs();
      const { id, declared: state, instance } = lease;
      const cordon = this.cordons.chooseForRegistration(replica.id, terms.cordon);
      const { ownerUrl, weight = 1 } = terms;
      const owner = this.#owner;
      const registration = { lease: id, owner, ownerUrl, instance, replica, state, sinceEpochMs, cordon, weight };
      await this.#store.put(registration, canReplace);
    } catch (error) {
      this.#leases.end(lease.id);
      throw error;
    }
    this.#leases.counts.granted++;
    if (this.#leases.get(lease.id)) this.#expiry.watch(lease);
    return lease.id;
  }

  /**
   * Renews the lease for another TTL. Applies the state and the capabilities that the replica reports, both or neither. `seq` numbers
   * the changes of the lease's holder: a report with a lower number than an earlier one only renews the lease. Neither is
   * applied with `too_soon` (capabilities within 1 s of the last ones, or a large registration that becomes ready too often) or
   * with an error because the registry has no room. The lease is renewed in these cases too.
   */
  renew(id: LeaseId, declared?: DeclaredState, update?: CapabilityUpdate<R>, seq?: number): Promise<RenewalResult> {
    return this.#renewals.renew(id, declared, update, seq);
  }

  /** Returns the result of a renewal that would find the lease ended; undefined if the lease is active. */
  findRenewalRefusal(id: LeaseId): 'superseded' | 'unknown' | undefined {
    return this.#renewals.findRefusal(id);
  }

  /** Counts a renewal that was refused before {@link renew}. */
  countRefusedRenewal(refusal: 'superseded' | 'unknown'): void {
    this.#leases.counts.addRenewal(refusal);
  }

  /** Finds out whether a lease is active, and which API server has it. */
  locateLease(id: LeaseId): Promise<LeaseLocation<R>> {
    return locateLease(id, { store: this.#store, leases: this.#leases, clock: this.#clock });
  }

  /** Records a sign of life of the lease's holder that is not a renewal. */
  async recordSignOfLife(id: LeaseId): Promise<void> {
    const lease = this.#leases.get(id);
    if (lease) await this.#expiry.recordSignOfLife(lease);
  }

  /** Ends a lease and its registration. Resolves to false if it has ended before. */
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
   * Ends a silent lease, or only suspects it during self-preservation. A sign of life ends a suspicion. After 60 s without one,
   * the lease ends. An unready or draining replica stays unroutable while it is suspected.
   */
  async accuse(lease: LeaseId, end: InferredEnd, silence: Silence): Promise<void> {
    await this.#expiry.accuse(lease, end, silence);
  }

  /**
   * Picks a random matching replica: a ready one, or a suspect if no ready one matches. Each match is equally likely. Picks
   * excluded replicas only if no other matches. Without a protocol, picks one with a URL only if no other matches at all.
   */
  route(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): R | undefined {
    return this.#list.choose(query, excluded, protocol)?.replica;
  }

  /** Picks a random match of the first of these filters that has one, as {@link route} does for one query. */
  search(filters: readonly PreparedFilter[], excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): SearchResult<R> {
    return this.#list.search(filters, excluded, protocol);
  }

  /** Returns the routable replicas in the order of registration. A replica that registered again keeps its position. */
  replicas(): R[] {
    return [...this.#list.all()].filter(isRoutable).map(({ replica }) => replica);
  }

  /** Returns all registrations in the same order, as immutable pages. A page that didn't change is the same object. */
  pages(): readonly ReplicaPage<R>[] {
    return this.#list.pages();
  }

  /**
   * Returns all registrations at the time of this call, in the same order. Leases are looked up during iteration, so that a long
   * list doesn't block the event loop. A lease that has ended by then is undefined.
   */
  known(): Iterable<KnownReplica<R>> {
    return this.#knownIn(this.#list.pages());
  }

  /** Returns the registration of one replica, as in {@link known}. */
  find(id: ReplicaId): KnownReplica<R> | undefined {
    const registration = this.#list.get(id);
    return registration && this.describe(registration);
  }

  /** Returns a registration with its lease, also one that a newer registration has replaced. */
  describe(registration: Registration<R>): KnownReplica<R> {
    return { registration, lease: this.#leases.get(registration.lease) };
  }

  /** Returns the registration that holds a lease which this server granted. Undefined if the lease has ended. */
  findByLease(id: LeaseId): Registration<R> | undefined {
    const lease = this.#leases.get(id);
    const registration = lease && this.#list.get(lease.replicaId);
    return registration?.lease === id ? registration : undefined;
  }

  /** Ends every lease of this registry and notifies the holders. Does not close the store, because others can use it. */
  async close(): Promise<void> {
    await Promise.all([...this.#leases.listActive()].map(({ id }) => this.#store.delete(id, 'shutdown')));
    this.#expiry.close();
    this.#unsubscribe();
  }

  *#knownIn(pages: readonly ReplicaPage<R>[]): Generator<KnownReplica<R>> {
    for (const { registrations } of pages) {
      for (const registration of registrations) yield this.describe(registration);
    }
  }

  /** Applies a store event. It is the only writer of the list. */
  #apply(event: StoreEvent<R>): void {
    switch (event.kind) {
      case 'put':
        this.#applyPut(event.registration);
        break;
      case 'change':
        this.#applyChange(event.registration);
        break;
      case 'sharing':
        this.#leases.get(event.lease)?.onSharing?.(event.problem);
        break;
      case 'delete':
        this.#applyDelete(event.lease, event.replicaId, event.end);
        break;
      default:
        event satisfies never;
    }
  }

  /** Other servers that share the store find this one by the id, also while the registration is not in the store. */
  #createLeaseId(): LeaseId {
    const id = this.#ids.createLeaseId();
    return this.#store.serverId === undefined ? id : addServer(id, this.#owner);
  }

  #applyPut(registration: Registration<R>): void {
    const { lease, replica } = registration;
    const previous = this.#list.get(replica.id);
    const previousCordon = this.cordons.find(replica.id);
    this.#list.put(registration);
    this.changes.recordPut(registration, previous);
    this.cordons.forget(replica.id);
    if (previous && previous.lease !== lease) this.#supersede(previous, registration.instance);
    this.#events.emit({ kind: 'registered', replicaId: replica.id, endpoint: replica.endpoint });
    this.cordons.emitChange(replica.id, previousCordon, registration.cordon);
  }

  /** Ends the lease of a registration that a newer one replaced. A re-registration by the same process is not a takeover. */
  #supersede({ lease, instance, replica: { id: replicaId } }: Registration, by: Instance | undefined): void {
    const nowMs = this.#clock.nowMs();
    const ended = this.#leases.end(lease);
    const reason = isSameInstance(instance, by) ? 'reregistered' : 'superseded';
    this.#events.emit({ kind: 'removed', replicaId, reason, lease: toEndedLease(ended, nowMs) });
    if (reason === 'superseded') {
      this.#leases.rememberSuperseded(lease, nowMs);
      if (this.#idConflicts.recordTakeover(replicaId, nowMs)) this.#events.emit({ kind: 'id_conflict', replicaId });
    }
    ended?.holder(reason, by);
  }

  #applyChange(registration: Registration<R>): void {
    const { replica, state, lease } = registration;
    const previous = this.#list.get(replica.id);
    if (previous?.lease !== lease) return;
    this.#list.put(registration);
    this.changes.recordPut(registration, previous);
    const { id: replicaId, capabilities } = replica;
    if (replica !== previous.replica) {
      this.#events.emit({ kind: 'capabilities_changed', replicaId, count: capabilities.length });
    }
    this.cordons.emitChange(replicaId, previous.cordon, registration.cordon);
    if (state === previous.state) return;
    // For the leases of this server, `suspected` and `suspicion_ended` report this change.
    const isSuspicion = state === 'suspect' || previous.state === 'suspect';
    if (isSuspicion && this.#leases.get(lease)) return;
    this.#events.emit({ kind: 'state_changed', replicaId, state });
  }

  #applyDelete(lease: LeaseId, replicaId: ReplicaId, reason: LeaseEnd | undefined): void {
    const active = this.#leases.end(lease);
    const registration = this.#list.get(replicaId);
    if (registration?.lease === lease) {
      this.#list.delete(replicaId);
      this.changes.recordRemoval(registration, reason);
      this.cordons.remember(registration);
      const ended = toEndedLease(active ?? this.#closing.get(lease), this.#clock.nowMs());
      this.#events.emit({ kind: 'removed', replicaId, reason, lease: ended });
    }
    active?.holder(reason);
  }
}

/** Returns an error if a registration is older than the current one of the same process. */
function checkSeq(
  instance: NumberedInstance | undefined,
  present: NumberedInstance | undefined,
): AnyserveError | undefined {
  if (!instance || !present || !isSameInstance(instance, present) || instance.seq > present.seq) return undefined;
  return new AnyserveError(
    'already_exists',
    `a newer registration of the same process exists: its number is ${present.seq}, and this one's is ${instance.seq}`,
  );
}
