import type { Clock } from '../../core/ports.js';

/** Dependencies of the lease ends. */
export interface LeaseEndsOptions {
  readonly clock: Clock;
  /** Returns the number of API servers whose leases have not ended. */
  readonly countServers: () => number;
  /** Returns whether changes arrive, so that replicas that were registered again have been seen. */
  readonly isFollowing: () => boolean;
  /** Makes the replicas of an ended lease suspects, or what they were before. */
  readonly setSuspect: (lease: bigint, isSuspect: boolean) => void;
  /** Removes the replicas of an ended lease. */
  readonly drop: (lease: bigint) => void;
}

/** How long the replicas of a server whose lease ended stay, in ms. Their registrants need less to find another server. */
const GRACE_MS = 10_000;

/** Delay of the decision about a lease, in ms: an etcd that was paused ends the leases of several servers one after the other. */
const DECISION_DELAY_MS = 250;

/** Delay before the next try to remove replicas, in ms. */
const RECHECK_MS = 1000;

/**
 * Decides what the end of a server's etcd lease means for its replicas. An etcd that was paused, or has elected a new leader
 * late, ends the leases of servers that are alive. If half of the servers or more lost their leases within 10 s, or this server
 * itself did, nothing happens to replicas for 10 s. One server's lease alone makes its replicas suspects. Replicas that are
 * not registered again within 10 s are removed.
 */
export class LeaseEnds {
  readonly #options: LeaseEndsOptions;
  /** Ended leases, with the time of their end. */
  readonly #ends = new Map<bigint, number>();
  readonly #cancels = new Set<() => void>();
  #ownEndAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: LeaseEndsOptions) {
    this.#options = options;
  }

  /** Records that this server's own lease ended. */
  recordOwn(): void {
    this.#ownEndAtMs = this.#options.clock.nowMs();
    this.#decide();
  }

  /** Records that another server's lease ended. Its replicas must be orphans already. */
  record(lease: bigint): void {
    if (this.#ends.has(lease)) return;
    this.#ends.set(lease, this.#options.clock.nowMs());
    this.#schedule(DECISION_DELAY_MS, () => this.#decide());
    this.#schedule(GRACE_MS, () => this.#drop(lease));
  }

  close(): void {
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }

  #decide(): void {
    const isMass = this.#isMassEnd();
    for (const lease of this.#ends.keys()) this.#options.setSuspect(lease, !isMass);
  }

  /** Every end in the list is at most 10 s old, unless etcd can't be reached. */
  #isMassEnd(): boolean {
    const { clock, countServers } = this.#options;
    if (clock.nowMs() - this.#ownEndAtMs < GRACE_MS) return true;
    return this.#ends.size >= (countServers() + this.#ends.size) / 2;
  }

  #drop(lease: bigint): void {
    // Nothing is removed because etcd can't be reached.
    if (this.#options.isFollowing()) {
      this.#ends.delete(lease);
      this.#options.drop(lease);
    } else this.#schedule(RECHECK_MS, () => this.#drop(lease));
  }

  #schedule(delayMs: number, task: () => void): void {
    const cancel = this.#options.clock.schedule(
      delayMs,
      () => {
        this.#cancels.delete(cancel);
        task();
      },
      { background: true },
    );
    this.#cancels.add(cancel);
  }
}
