import type { LeaseId, ReplicaId } from './ids.js';
import type { EndedLease } from './ports.js';
import type { DeclaredState, InferredEnd, LeaseEnd } from './replica.js';
import type { HostListener } from './self-preservation.js';

/** Called once, when a lease ends for a reason other than the holder's own; undefined when the store doesn't know why. */
export type LeaseHolder = (end: LeaseEnd | undefined) => void;

/** What a lease is granted for. */
export interface LeaseTerms {
  /** The address of the host that holds it. */
  readonly host: string;
  /** How long it lasts without being renewed, in milliseconds; for as long as its connection unless told. */
  readonly ttlMs?: number | undefined;
  /** The state that the replica starts in. Default: ready. */
  readonly state?: DeclaredState | undefined;
}

/** A lease that this server granted and that still runs. */
export interface Lease extends Omit<LeaseTerms, 'state'> {
  readonly id: LeaseId;
  readonly replicaId: ReplicaId;
  readonly holder: LeaseHolder;
  readonly grantedAtMs: number;
  /** What its registration holds, in bytes. Change it with {@link LeaseTable.resize}. */
  bytes: number;
  /** From when on its replica can change what it offers. */
  nextOfferAtMs: number;
  /** From when on its replica can become ready again, if its registration is large. */
  nextReadyAtMs: number;
  /** When its holder was last heard of. */
  seenAtMs: number;
  /** What its replica last said of itself. */
  declared: DeclaredState;
  /** Why it is under suspicion; undefined while it is not. */
  suspected: InferredEnd | undefined;
  /** Calls its timer off. */
  cancelTimer: () => void;
}

const NOTHING_TO_CANCEL = (): void => {};

/** A lease as it is granted. Each field is named, so that all leases are of one shape: a spread would give each its own. */
export function createLease(
  id: LeaseId,
  { id: replicaId, bytes }: { readonly id: ReplicaId; readonly bytes: number },
  { host, ttlMs, state = 'ready' }: LeaseTerms,
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
    bytes,
    nextOfferAtMs: nowMs,
    nextReadyAtMs: nowMs,
    seenAtMs: nowMs,
    declared: state,
    suspected: undefined,
    cancelTimer: NOTHING_TO_CANCEL,
  };
}

/** Returns what an event says of a lease that has ended; undefined for one that another server granted. */
export function toEndedLease(lease: Lease | undefined, nowMs: number): EndedLease | undefined {
  return lease && { host: lease.host, livedMs: nowMs - lease.grantedAtMs, silentMs: nowMs - lease.seenAtMs };
}

/** How long, and how many, superseded leases are remembered: their holders may still renew them, and are told why not. */
const REMEMBERED_MS = 60_000;
const MOST_REMEMBERED = 10_000;

/** What one host holds. */
interface Holding {
  leases: number;
  bytes: number;
}

/** The leases of this server, by id. */
export class LeaseTable {
  readonly #watch: HostListener;
  readonly #running = new Map<LeaseId, Lease>();
  readonly #hosts = new Map<string, Holding>();
  #bytes = 0;
  /** The superseded ones and when they ended, oldest first. */
  readonly #superseded = new Map<LeaseId, number>();

  constructor(watch: HostListener) {
    this.#watch = watch;
  }

  grant(lease: Lease): void {
    this.#running.set(lease.id, lease);
    let holding = this.#hosts.get(lease.host);
    if (!holding) {
      holding = { leases: 0, bytes: 0 };
      this.#hosts.set(lease.host, holding);
      this.#watch.onHostJoin(lease.host);
    }
    holding.leases++;
    holding.bytes += lease.bytes;
    this.#bytes += lease.bytes;
  }

  get(id: LeaseId): Lease | undefined {
    return this.#running.get(id);
  }

  /** Ends a lease, its timer too; undefined when it has ended already, or is another server's. */
  end(id: LeaseId): Lease | undefined {
    const lease = this.#running.get(id);
    if (!lease) return undefined;
    lease.cancelTimer();
    this.#running.delete(id);
    this.#bytes -= lease.bytes;
    const holding = this.#hosts.get(lease.host) as Holding;
    holding.bytes -= lease.bytes;
    if (--holding.leases === 0) {
      this.#hosts.delete(lease.host);
      this.#watch.onHostLeave(lease.host);
    }
    return lease;
  }

  /** Notes that the registration of a running lease holds another number of bytes. */
  resize(lease: Lease, bytes: number): void {
    if (this.#running.get(lease.id) !== lease) return;
    const more = bytes - lease.bytes;
    lease.bytes = bytes;
    this.#bytes += more;
    (this.#hosts.get(lease.host) as Holding).bytes += more;
  }

  /** How many bytes the registrations of all running leases hold. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many bytes those of one host hold. */
  countBytes(host: string): number {
    return this.#hosts.get(host)?.bytes ?? 0;
  }

  /** How many hosts hold any. */
  get hosts(): number {
    return this.#hosts.size;
  }

  /** How many a host holds. */
  countLeases(host: string): number {
    return this.#hosts.get(host)?.leases ?? 0;
  }

  /** Notes that a lease ended because a newer registration took its id. */
  remember(id: LeaseId, nowMs: number): void {
    this.#superseded.set(id, nowMs);
    for (const [old, atMs] of this.#superseded) {
      if (nowMs - atMs <= REMEMBERED_MS && this.#superseded.size <= MOST_REMEMBERED) break;
      this.#superseded.delete(old);
    }
  }

  /** Whether a lease that runs no more was superseded lately. */
  wasSuperseded(id: LeaseId, nowMs: number): boolean {
    const atMs = this.#superseded.get(id);
    return atMs !== undefined && nowMs - atMs <= REMEMBERED_MS;
  }

  /** Those that run, in the order they were granted. */
  running(): Iterable<Lease> {
    return this.#running.values();
  }
}
