import type { HostWatch } from './brake.js';
import type { LeaseId, ReplicaId } from './ids.js';
import type { DeclaredState, InferredEnd, LeaseEnd } from './replica.js';

/** Told once, when a lease ends for another reason than its holder's own wish. */
export type LeaseHolder = (end: LeaseEnd) => void;

/** What a lease is granted for. */
export interface LeaseTerms {
  /** The address of the host that holds it. */
  readonly host: string;
  /** How long it lasts without being renewed, in milliseconds; for as long as its connection unless told. */
  readonly ttlMs?: number | undefined;
}

/** A lease that this server granted and that still runs. */
export interface Lease extends LeaseTerms {
  readonly id: LeaseId;
  readonly replicaId: ReplicaId;
  readonly holder: LeaseHolder;
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
export function newLease(
  id: LeaseId,
  replicaId: ReplicaId,
  { host, ttlMs }: LeaseTerms,
  holder: LeaseHolder,
  nowMs: number,
): Lease {
  return {
    id,
    replicaId,
    host,
    ttlMs,
    holder,
    seenAtMs: nowMs,
    declared: 'ready',
    suspected: undefined,
    cancelTimer: NOTHING_TO_CANCEL,
  };
}

/** How long, and how many, superseded leases are remembered: their holders may still renew them, and are told why not. */
const REMEMBERED_MS = 60_000;
const MOST_REMEMBERED = 10_000;

/** The leases of this server, by id. */
export class LeaseTable {
  readonly #watch: HostWatch;
  readonly #running = new Map<LeaseId, Lease>();
  /** How many of them each host holds. */
  readonly #hosts = new Map<string, number>();
  /** The superseded ones and when they ended, oldest first. */
  readonly #superseded = new Map<LeaseId, number>();

  constructor(watch: HostWatch) {
    this.#watch = watch;
  }

  grant(lease: Lease): void {
    this.#running.set(lease.id, lease);
    const before = this.leasesOf(lease.host);
    this.#hosts.set(lease.host, before + 1);
    if (before === 0) this.#watch.came(lease.host);
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
    const left = this.leasesOf(lease.host) - 1;
    if (left > 0) this.#hosts.set(lease.host, left);
    else {
      this.#hosts.delete(lease.host);
      this.#watch.left(lease.host);
    }
    return lease;
  }

  /** How many hosts hold any. */
  get hosts(): number {
    return this.#hosts.size;
  }

  /** How many a host holds. */
  leasesOf(host: string): number {
    return this.#hosts.get(host) ?? 0;
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
