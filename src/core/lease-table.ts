import type { Cordon } from './cordon.js';
import type { LeaseId, ReplicaId } from './ids.js';
import { LeaseCounts } from './lease-counts.js';
import type { ReplicaLoad } from './load.js';
import type { EndedLease } from './ports.js';
import type { DeclaredState, InferredEnd, Instance, LeaseEnd, NumberedInstance } from './replica.js';
import type { HostListener } from './self-preservation.js';

/**
 * Callback for the end of a lease that the holder did not end itself. Called once. `end` is undefined if the store doesn't know
 * why. `by` is the process whose registration superseded this one, if it reported itself.
 */
export type LeaseHolder = (end: LeaseEnd | undefined, by?: Instance) => void;

/** Terms of a lease. */
export interface LeaseTerms {
  /** Address of the host that holds the lease. */
  readonly host: string;
  /** TTL without a renewal, in ms. Default: no TTL, and the lease lasts as long as its connection. */
  readonly ttlMs?: number | undefined;
  /** Initial state of the replica. Default: `ready`. */
  readonly state?: DeclaredState | undefined;
  /** The process that registers the replica, and the number of this registration. Default: unknown. */
  readonly instance?: NumberedInstance | undefined;
  /** The newest cordon of the id that the replica knows. Default: none. */
  readonly cordon?: Cordon | undefined;
  /** Share of the calls. Default: 1. */
  readonly weight?: number | undefined;
  /** The load of the replica. Default: unknown. */
  readonly load?: ReplicaLoad | undefined;
  /** The URL at which this server takes requests for the lease, from other servers too. Default: unknown. */
  readonly ownerUrl?: string | undefined;
  /**
   * Called when the registration is only in this server, with the reason, and with undefined when other servers can have it again.
   * Only for a registry that servers share.
   */
  readonly onSharing?: ((problem: string | undefined) => void) | undefined;
}

/** An active lease that this server granted. */
export interface Lease extends Omit<LeaseTerms, 'state' | 'instance' | 'cordon' | 'weight' | 'load' | 'ownerUrl'> {
  readonly id: LeaseId;
  readonly replicaId: ReplicaId;
  readonly holder: LeaseHolder;
  readonly grantedAtMs: number;
  /** The process that holds the lease, and the number of its last change. */
  instance: NumberedInstance | undefined;
  /** Size of its registration, in bytes. Change it with {@link LeaseTable.resize}. */
  bytes: number;
  /** Earliest time at which the replica can change its capabilities. */
  nextCapabilityUpdateAtMs: number;
  /** Earliest time at which the replica can become ready again. Applies only to large registrations. */
  nextReadyAtMs: number;
  /** Time of the last sign of life of the holder. */
  seenAtMs: number;
  /** The state that the replica last reported. */
  declared: DeclaredState;
  /** Reason of the current suspicion; undefined while the lease is not suspected. */
  suspected: InferredEnd | undefined;
  /** The load that the holder last reported. Change it with `ReplicaLoads`. */
  load: ReplicaLoad | undefined;
  /** Cancels the timer of the lease. */
  cancelTimer: () => void;
}

const NO_TIMER = (): void => {};

/** Creates a lease. Names each field, so that all leases share one V8 object shape. With a spread, each would get its own. */
export function createLease(
  id: LeaseId,
  { id: replicaId, bytes }: { readonly id: ReplicaId; readonly bytes: number },
  { host, ttlMs, state = 'ready', instance, load, onSharing }: LeaseTerms,
  holder: LeaseHolder,
  nowMs: number,
): Lease {
  return {
    id,
    replicaId,
    host,
    ttlMs,
    holder,
    grantedAtMs: nowMs,
    instance,
    bytes,
    nextCapabilityUpdateAtMs: nowMs,
    nextReadyAtMs: nowMs,
    seenAtMs: nowMs,
    declared: state,
    suspected: undefined,
    load,
    onSharing,
    cancelTimer: NO_TIMER,
  };
}

/** Returns the description of an ended lease for an event; undefined for a lease that another server granted. */
export function toEndedLease(lease: Lease | undefined, nowMs: number): EndedLease | undefined {
  return lease && { host: lease.host, livedMs: nowMs - lease.grantedAtMs, silentMs: nowMs - lease.seenAtMs };
}

/**
 * Limits on the superseded leases that are remembered: their age in ms, and their number. A holder that still renews one gets
 * `superseded` as the reason of the failure.
 */
const SUPERSEDED_MEMORY_MS = 60_000;
const MAX_REMEMBERED_LEASES = 10_000;

/** Totals of one host. */
interface HostTotals {
  leases: number;
  bytes: number;
}

/** The active leases of this server, by id. */
export class LeaseTable {
  readonly counts = new LeaseCounts();
  readonly #hostListener: HostListener;
  readonly #active = new Map<LeaseId, Lease>();
  readonly #hosts = new Map<string, HostTotals>();
  #bytes = 0;
  /** The superseded leases and when they ended, oldest first. */
  readonly #superseded = new Map<LeaseId, number>();

  constructor(hostListener: HostListener) {
    this.#hostListener = hostListener;
  }

  grant(lease: Lease): void {
    this.#active.set(lease.id, lease);
    this.counts.addActive(lease, 1);
    let totals = this.#hosts.get(lease.host);
    if (!totals) {
      totals = { leases: 0, bytes: 0 };
      this.#hosts.set(lease.host, totals);
      this.#hostListener.onHostJoin(lease.host);
    }
    totals.leases++;
    totals.bytes += lease.bytes;
    this.#bytes += lease.bytes;
  }

  get(id: LeaseId): Lease | undefined {
    return this.#active.get(id);
  }

  /** Ends a lease and cancels its timer. Returns undefined if it has ended before or another server granted it. */
  end(id: LeaseId): Lease | undefined {
    const lease = this.#active.get(id);
    if (!lease) return undefined;
    lease.cancelTimer();
    this.#active.delete(id);
    this.counts.addActive(lease, -1);
    this.#bytes -= lease.bytes;
    const totals = this.#hosts.get(lease.host) as HostTotals;
    totals.bytes -= lease.bytes;
    if (--totals.leases === 0) {
      this.#hosts.delete(lease.host);
      this.#hostListener.onHostLeave(lease.host);
    }
    return lease;
  }

  /** Records a new size of the registration of an active lease, in bytes. */
  resize(lease: Lease, bytes: number): void {
    if (this.#active.get(lease.id) !== lease) return;
    const difference = bytes - lease.bytes;
    lease.bytes = bytes;
    this.#bytes += difference;
    (this.#hosts.get(lease.host) as HostTotals).bytes += difference;
  }

  /** Total size of the registrations of all active leases, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Returns the total size of the registrations of one host, in bytes. */
  countBytes(host: string): number {
    return this.#hosts.get(host)?.bytes ?? 0;
  }

  /** Number of hosts with at least one lease. */
  get hosts(): number {
    return this.#hosts.size;
  }

  /** Returns the number of leases of one host. */
  countLeases(host: string): number {
    return this.#hosts.get(host)?.leases ?? 0;
  }

  /** Remembers that a lease ended because a newer registration took its replica id. */
  rememberSuperseded(id: LeaseId, nowMs: number): void {
    this.#superseded.set(id, nowMs);
    for (const [old, atMs] of this.#superseded) {
      if (nowMs - atMs <= SUPERSEDED_MEMORY_MS && this.#superseded.size <= MAX_REMEMBERED_LEASES) break;
      this.#superseded.delete(old);
    }
  }

  /** Returns whether an ended lease was superseded recently. */
  wasSuperseded(id: LeaseId, nowMs: number): boolean {
    const atMs = this.#superseded.get(id);
    return atMs !== undefined && nowMs - atMs <= SUPERSEDED_MEMORY_MS;
  }

  /** Returns the active leases in the order in which they were granted. */
  listActive(): Iterable<Lease> {
    return this.#active.values();
  }
}
