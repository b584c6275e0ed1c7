import { createBrake } from './brake.js';
import type { CapabilityQuery } from './capability.js';
import { AnyserveError, messageOf } from './errors.js';
import type { LeaseId, ReplicaId } from './ids.js';
import { type Lease, type LeaseHolder, LeaseTable, type LeaseTerms, newLease } from './lease-table.js';
import type { Clock, Ids, Log, Random, RegistrationStore, StoreEvent } from './ports.js';
import { registrationBytes } from './registration-bytes.js';
import { bytesRefusal, type RegistryLimits, UNLIMITED } from './registry-limits.js';
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
import { createTakeovers } from './takeovers.js';

/** What a registry needs from the world. */
export interface RegistryOptions {
  readonly store: RegistrationStore;
  readonly clock: Clock;
  readonly random: Random;
  readonly ids: Ids;
  readonly log: Log;
  readonly limits?: RegistryLimits | undefined;
}

/** How a renewal went: the lease runs on, or a newer registration has its id, or there is no such lease. */
export type Renewal = 'renewed' | 'superseded' | 'unknown';

/** Returns a replica with another offer, given the present one. */
export type Offer = (present: Replica) => Replica;

/** A registration, with what this server knows of the lease beside it. */
export interface KnownReplica {
  readonly registration: Registration;
  /** Undefined for a lease that has ended, or that another server granted. */
  readonly lease: Pick<Lease, 'host' | 'ttlMs' | 'seenAtMs'> | undefined;
}

/** What there is to know of a silence that a lease is accused for. */
export interface Silence {
  /** How late the timer came that brought it up. */
  readonly lateByMs: number;
  /** How far back it would have to reach; a lease that was renewed since is not silent. */
  readonly forMs?: number;
  /** Whether the host has got over such a silence lately, and so rather has a bad network. */
  readonly isLossy?: boolean;
}

/** The list of the replicas that live: who is in it, who leaves it, and which of them answers a query. */
export interface Registry {
  /**
   * Why no lease is to be granted now for a replica to a host; undefined when one is. `unavailable`: the list is full;
   * `resource_exhausted`: the host has its share. What the registration replaces makes room for it.
   */
  refusal(replica: Replica, host: string): AnyserveError | undefined;
  /**
   * Puts a replica in the list, in the place of whatever had its id, and grants it a lease. The replica can be
   * routed to before this resolves. `holder` is told when the lease ends for a reason that is not its own.
   */
  register(replica: Replica, terms: LeaseTerms, holder: LeaseHolder): Promise<LeaseId>;
  /**
   * Renews a lease for another TTL, and applies the state and the offer that the replica reports, both or none of them:
   * `too_soon` for an offer within a second of the last one, and for a large registration that becomes ready too often, or the reason why the registry has no room for it. The lease
   * is renewed in these cases, too.
   */
  renew(lease: LeaseId, declared?: DeclaredState, offer?: Offer): Promise<Renewal | 'too_soon' | AnyserveError>;
  /** Notes that a lease's holder was heard of in another way than by a renewal. */
  seen(lease: LeaseId): Promise<void>;
  /** Ends a lease, and with it the registration it names; false: it has ended already, and nothing changes. */
  release(lease: LeaseId, end: LeaseEnd): Promise<boolean>;
  /**
   * Ends a lease for silence, or only suspects it where the brake says so. A suspicion ends with a sign of life, or
   * after 60 s with the lease. Who is unready or draining is suspected under that state, and still not routed to.
   */
  accuse(lease: LeaseId, end: InferredEnd, silence: Silence): Promise<void>;
  /**
   * A matching replica, uniformly chosen: of the ready ones, else of the suspects. The excluded are left out, unless
   * nobody else matches.
   */
  route(query: CapabilityQuery, excluded: ReadonlySet<ReplicaId>): Replica | undefined;
  /** The replicas that can be routed to, in the order of registration; one that registered again keeps its place. */
  replicas(): Replica[];
  /** All registrations in the same order, in pages that are never changed: those of two calls can be told apart as such. */
  pages(): readonly ReplicaPage[];
  /**
   * All registrations as they are when this is called, in the same order, each with its lease as it is when one comes to
   * it: to look so many leases up takes long, and need not be done in one go. There is none where it has ended meanwhile.
   */
  known(): Iterable<KnownReplica>;
  /** The registration of one replica, as {@link known} has it. */
  find(id: ReplicaId): KnownReplica | undefined;
  /** Ends every lease of this server, telling the holders, and closes the store. */
  close(): Promise<void>;
}

/** Shortest time between two changes of what a replica offers: a change can cost as much as a registration. */
const OFFER_PAUSE_MS = 1000;

/**
 * A replica with a large registration becomes ready no more often than this allows, in bytes of registrations a millisecond: a
 * short renewal has all of it indexed. Smaller registrations are not limited.
 */
const READY_BYTES_PER_MS = 256;
const LARGE_REGISTRATION_BYTES = 64 * 1024;

/** How long a suspicion lasts at the most. */
const SUSPECT_MS = 60_000;

/** A registry over a store. */
export function createRegistry({ store, clock, random, ids, log, limits = UNLIMITED }: RegistryOptions): Registry {
  const list = new ReplicaList(random);
  const brake = createBrake();
  const leases = new LeaseTable(brake);
  const takeovers = createTakeovers();

  /** The list's one writer: everything that changes it comes through here, from the store. */
  function apply(event: StoreEvent): void {
    switch (event.kind) {
      case 'put': {
        const { lease, replica } = event.registration;
        const previous = list.get(replica.id);
        list.put(event.registration);
        if (previous && previous.lease !== lease) {
          log.info(`removed ${JSON.stringify(replica.id)}: superseded`);
          noteTakeover(replica.id);
          leases.remember(previous.lease, clock.nowMs());
          leases.end(previous.lease)?.holder('superseded');
        }
        log.info(`registered ${JSON.stringify(replica.id)} at ${replica.endpoint}`);
        break;
      }
      case 'change': {
        const { replica, state, lease } = event.registration;
        const previous = list.get(replica.id);
        if (previous?.lease !== lease) break;
        list.put(event.registration);
        const id = JSON.stringify(replica.id);
        if (replica !== previous.replica)
          log.info(`${id} offers ${replica.capabilities.length} capability objects now`);
        if (state !== previous.state) log.info(`${id} is ${state}`);
        break;
      }
      case 'delete':
        if (list.get(event.replicaId)?.lease === event.lease) {
          list.delete(event.replicaId);
          log.info(`removed ${JSON.stringify(event.replicaId)}: ${event.end}`);
        }
        leases.end(event.lease)?.holder(event.end);
        break;
      default:
        event satisfies never;
    }
  }

  function noteTakeover(id: ReplicaId): void {
    if (!takeovers.note(id, clock.nowMs())) return;
    log.warn(`${JSON.stringify(id)} goes from one to the other; have two processes the same id?`);
  }

  /** Has a task run later, for as long as the lease runs; tells it how late it came. A lease has one such task. */
  function arm(lease: Lease, delayMs: number, task: (lateByMs: number) => void): void {
    const dueAtMs = clock.nowMs() + delayMs;
    lease.cancelTimer();
    lease.cancelTimer = clock.schedule(delayMs, () => task(clock.nowMs() - dueAtMs));
  }

  /** Waits until a two-way lease has run out; one that was renewed meanwhile is waited for again. */
  function awaitExpiry(lease: Lease): void {
    const { id, ttlMs } = lease;
    lease.cancelTimer();
    if (ttlMs === undefined) return;
    arm(lease, lease.seenAtMs + ttlMs - clock.nowMs(), (lateByMs) => {
      if (lease.seenAtMs + ttlMs > clock.nowMs()) awaitExpiry(lease);
      else inBackground(accuse(id, 'expired', { lateByMs }));
    });
  }

  /** What a timer began has nobody to fail to. */
  function inBackground(work: Promise<unknown>): void {
    work.catch((error) => log.warn(messageOf(error)));
  }

  async function accuse(
    id: LeaseId,
    end: InferredEnd,
    { lateByMs, forMs = 0, isLossy = false }: Silence,
  ): Promise<void> {
    const lease = leases.get(id);
    if (!lease || lease.suspected) return;
    const nowMs = clock.nowMs();
    if (lease.ttlMs !== undefined && nowMs - lease.seenAtMs < forMs) return;
    const verdict = brake.judge({ host: lease.host, isLossy, lateByMs, nowMs, hosts: leases.hosts });
    if (verdict === 'remove') return store.delete(id, end);
    lease.suspected = end;
    arm(lease, SUSPECT_MS, () => inBackground(store.delete(id, end)));
    // Who takes no calls by its own word does not get them for having fallen silent.
    if (lease.declared === 'ready') await store.change(id, { state: 'suspect', sinceEpochMs: clock.epochMs() });
  }

  /** Whether a replica that declares itself ready is, or becomes so now; notes when it can do so again. */
  function canGetReady(lease: Lease): boolean {
    if (lease.declared === 'ready' || lease.bytes < LARGE_REGISTRATION_BYTES) return true;
    const nowMs = clock.nowMs();
    if (nowMs < lease.nextReadyAtMs) return false;
    lease.nextReadyAtMs = nowMs + lease.bytes / READY_BYTES_PER_MS;
    return true;
  }

  /**
   * Notes a sign of life, with what it reports: a suspicion ends, and a two-way lease lasts for another TTL.
   */
  async function seen(lease: Lease, declared = lease.declared, replica?: Replica): Promise<void> {
    const isNews = declared !== lease.declared || (declared === 'ready' && lease.suspected !== undefined);
    lease.seenAtMs = clock.nowMs();
    lease.declared = declared;
    if (lease.suspected !== undefined) {
      lease.suspected = undefined;
      awaitExpiry(lease);
    }
    const news = isNews ? { state: declared, sinceEpochMs: clock.epochMs() } : {};
    if (isNews || replica) await store.change(lease.id, replica ? { ...news, replica } : news);
  }

  /** Renews a lease with another offer. The number of bytes it holds changes before, and back where the store fails. */
  async function renewWithOffer(
    lease: Lease,
    declared: DeclaredState | undefined,
    offer: Offer,
  ): Promise<Renewal | AnyserveError> {
    const present = list.get(lease.replicaId);
    if (present?.lease !== lease.id) return 'unknown';
    const replica = offer(present.replica);
    const { host, bytes: bytesBefore } = lease;
    const bytes = registrationBytes(replica);
    const refusal = bytesRefusal(leases, limits, { host, bytes, replaced: lease });
    if (refusal) {
      await seen(lease);
      return refusal;
    }
    lease.nextOfferAtMs = clock.nowMs() + OFFER_PAUSE_MS;
    leases.resize(lease, bytes);
    try {
      await seen(lease, declared, replica);
    } catch (error) {
      leases.resize(lease, bytesBefore);
      throw error;
    }
    return 'renewed';
  }

  function* knownOf(pages: readonly ReplicaPage[]): Generator<KnownReplica> {
    for (const { registrations } of pages) {
      for (const registration of registrations) yield { registration, lease: leases.get(registration.lease) };
    }
  }

  const unsubscribe = store.subscribe(apply);

  return {
    find(id) {
      const registration = list.get(id);
      return registration && { registration, lease: leases.get(registration.lease) };
    },
    refusal(replica, host) {
      const held = list.get(replica.id);
      const { maxReplicas, maxLeasesPerHost } = limits;
      if (!held && list.size >= maxReplicas) {
        return new AnyserveError('unavailable', `there are ${maxReplicas} replicas, and there is room for no more`);
      }
      const replaced = held && leases.get(held.lease);
      if (replaced?.host !== host && leases.leasesOf(host) >= maxLeasesPerHost) {
        return new AnyserveError(
          'resource_exhausted',
          `${host} holds ${maxLeasesPerHost} leases, and may hold no more`,
        );
      }
      return bytesRefusal(leases, limits, { host, bytes: registrationBytes(replica), replaced });
    },
    async register(replica, terms, holder) {
      const { id } = replica;
      const held = { id, bytes: registrationBytes(replica) };
      const lease = newLease(ids.lease(), held, terms, holder, clock.nowMs());
      leases.grant(lease);
      try {
        await store.put({ lease: lease.id, replica, state: lease.declared, sinceEpochMs: clock.epochMs() });
      } catch (error) {
        leases.end(lease.id);
        throw error;
      }
      if (leases.get(lease.id)) awaitExpiry(lease);
      return lease.id;
    },
    async renew(id, declared, offer) {
      const lease = leases.get(id);
      if (!lease) return leases.wasSuperseded(id, clock.nowMs()) ? 'superseded' : 'unknown';
      const isTooSoon = offer !== undefined && clock.nowMs() < lease.nextOfferAtMs;
      if (offer && !isTooSoon) return renewWithOffer(lease, declared, offer);
      const isNotYet = isTooSoon || (declared === 'ready' && !canGetReady(lease));
      await seen(lease, isNotYet ? undefined : declared);
      return isNotYet ? 'too_soon' : 'renewed';
    },
    async seen(id) {
      const lease = leases.get(id);
      if (lease) await seen(lease);
    },
    async release(id, end) {
      // Whoever closed its connection need not hear of it.
      const lease = end === 'closed' ? leases.end(id) : leases.get(id);
      if (lease) await store.delete(id, end);
      return lease !== undefined;
    },
    accuse,
    route: (query, excluded) => list.choose(query, excluded)?.replica,
    replicas: () => [...list.all()].filter(isRoutable).map(({ replica }) => replica),
    pages: () => list.pages(),
    known: () => knownOf(list.pages()),
    async close() {
      await Promise.all([...leases.running()].map(({ id }) => store.delete(id, 'shutdown')));
      unsubscribe();
      await store.close();
    },
  };
}
