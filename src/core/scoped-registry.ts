import { AnyserveError } from './errors.js';
import type { LeaseId, RegistryId, ReplicaId } from './ids.js';
import type { SearchResult } from './index/capability-index.js';
import type { PreparedFilter } from './index/prepared-filter.js';
import type { PreparedQuery } from './index/prepared-query.js';
import type { LeaseLocation } from './lease-location.js';
import type { CapabilityUpdate, RenewalResult } from './lease-renewals.js';
import type { LeaseHolder, LeaseTerms } from './lease-table.js';
import type { RegistryEvent, ServerEvent } from './ports.js';
import type { Protocol } from './protocol.js';
import type { KnownReplica, Registry } from './registry.js';
import type { RegistryAccess } from './registry-access.js';
import type { RegistryChanges } from './registry-changes.js';
import type { DeclaredState, LeaseEnd, Registration, Replica } from './replica.js';
import type { ReplicaPage } from './replica-pages.js';
import { areInScope, createTakenError, findScopeProblem, type Scope } from './scope.js';
import { selectEvent } from './scoped-events.js';
import { ScopedList, type ScopedListOptions } from './scoped-list.js';

/** Options of a {@link ScopedRegistry}. */
export interface ScopedRegistryOptions<R extends Replica = Replica> extends ScopedListOptions<R> {
  readonly registry: Registry<R>;
}

/**
 * A registry as the tokens of a scope can use it. Reads have the results of a registry that holds only the capability objects in the
 * scope, because it keeps such a list. Writes can only register such objects, and only change registrations without others.
 */
export class ScopedRegistry<R extends Replica = Replica> implements RegistryAccess<R> {
  readonly scope: Scope;
  readonly changes: RegistryChanges<R>;
  readonly cordons: RegistryAccess<R>['cordons'];
  readonly loads: RegistryAccess<R>['loads'];
  readonly #registry: Registry<R>;
  readonly #list: ScopedList<R>;

  constructor(options: ScopedRegistryOptions<R>) {
    const { registry, scope } = options;
    const list = new ScopedList(options);
    this.#registry = registry;
    this.#list = list;
    this.scope = scope;
    this.changes = list.changes;
    this.cordons = {
      set: async (id, change) => (list.replicas.get(id) ? registry.cordons.set(id, change) : 'unknown'),
      adopt: async (lease, cordon) => (this.#owns(lease) ? registry.cordons.adopt(lease, cordon) : undefined),
      findByLease: (lease) => (this.#owns(lease) ? registry.cordons.findByLease(lease) : undefined),
    };
    this.loads = {
      record: (lease, load) => (this.#owns(lease) ? registry.loads.record(lease, load) : undefined),
      subscribe: (listener) =>
        registry.loads.subscribe((lease) => {
          if (list.replicas.get(lease.replicaId)?.lease === lease.id) listener(lease);
        }),
    };
  }

  get id(): RegistryId | undefined {
    return this.#registry.id;
  }

  get stalenessMs(): number | undefined {
    return this.#registry.stalenessMs;
  }

  /** Always false, because self-preservation is about the hosts of all replicas. */
  get isInSelfPreservation(): boolean {
    return false;
  }

  pages(): readonly ReplicaPage<R>[] {
    return this.#list.replicas.pages();
  }

  known(): Iterable<KnownReplica<R>> {
    return this.#describeAll(this.pages());
  }

  find(id: ReplicaId): KnownReplica<R> | undefined {
    const registration = this.#list.replicas.get(id);
    return registration && this.describe(registration);
  }

  describe(registration: Registration<R>): KnownReplica<R> {
    return this.#registry.describe(registration);
  }

  route(query: PreparedQuery, excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): R | undefined {
    return this.#list.replicas.choose(query, excluded, protocol)?.replica;
  }

  search(filters: readonly PreparedFilter[], excluded: ReadonlySet<ReplicaId>, protocol?: Protocol): SearchResult<R> {
    return this.#list.replicas.search(filters, excluded, protocol);
  }

  /** Returns an event of the registry as it is in the scope; undefined if it is about nothing in it. */
  selectEvent(event: RegistryEvent | ServerEvent): RegistryEvent | undefined {
    return selectEvent(event, { scope: this.scope, list: this.#list });
  }

  /** Also refuses an id whose registration has objects outside of the scope. The error doesn't describe that registration. */
  checkRegistration(replica: Replica, terms: Pick<LeaseTerms, 'host' | 'instance'>): AnyserveError | undefined {
    const problem = this.#checkCapabilities(replica);
    if (problem) return problem;
    const present = this.#registry.find(replica.id);
    if (present && !this.#covers(present.registration)) return createTakenError(replica.id);
    return this.#registry.checkRegistration(replica, terms);
  }

  async register(replica: R, terms: LeaseTerms, holder: LeaseHolder): Promise<LeaseId> {
    const problem = this.checkRegistration(replica, terms);
    if (problem) throw problem;
    // Another API server can have granted a registration of the id that this one hasn't seen yet.
    return this.#registry.register(replica, terms, holder, (present) => this.#covers(present));
  }

  async renew(
    id: LeaseId,
    declared?: DeclaredState,
    update?: CapabilityUpdate<R>,
    seq?: number,
  ): Promise<RenewalResult> {
    const refusal = this.findRenewalRefusal(id);
    if (refusal) {
      this.countRefusedRenewal(refusal);
      return refusal;
    }
    let problem: AnyserveError | undefined;
    const checkedUpdate = (present: R): R => {
      const replica = (update as CapabilityUpdate<R>)(present);
      problem = this.#checkCapabilities(replica);
      if (problem) throw problem;
      return replica;
    };
    try {
      return await this.#registry.renew(id, declared, update && checkedUpdate, seq);
    } catch (error) {
      if (problem && error === problem) return problem;
      throw error;
    }
  }

  findRenewalRefusal(id: LeaseId): 'superseded' | 'unknown' | undefined {
    return this.#registry.findRenewalRefusal(id) ?? (this.#owns(id) ? undefined : 'unknown');
  }

  countRefusedRenewal(refusal: 'superseded' | 'unknown'): void {
    this.#registry.countRefusedRenewal(refusal);
  }

  async locateLease(id: LeaseId): Promise<LeaseLocation<R>> {
    const location = await this.#registry.locateLease(id);
    // The owner of a lease that it has not shared gets the scope with the request.
    const registration = location.kind === 'elsewhere' ? location.registration : this.#registry.findByLease(id);
    return registration && !this.#covers(registration) ? { kind: 'unknown' } : location;
  }

  async release(id: LeaseId, end: LeaseEnd): Promise<boolean> {
    // A connection that closes ends its lease, whatever the replica has registered since.
    return end === 'closed' || this.#owns(id) ? this.#registry.release(id, end) : false;
  }

  /** Returns whether a lease's registration has no objects outside of the scope. */
  #owns(lease: LeaseId): boolean {
    const registration = this.#registry.findByLease(lease);
    return registration !== undefined && this.#covers(registration);
  }

  #checkCapabilities({ capabilities }: Replica): AnyserveError | undefined {
    const problem = findScopeProblem(this.scope, capabilities);
    return problem === undefined ? undefined : new AnyserveError('permission_denied', problem);
  }

  #covers({ replica }: Registration): boolean {
    return areInScope(this.scope, replica.capabilities);
  }

  *#describeAll(pages: readonly ReplicaPage<R>[]): Generator<KnownReplica<R>> {
    for (const { registrations } of pages) {
      for (const registration of registrations) yield this.describe(registration);
    }
  }
}
