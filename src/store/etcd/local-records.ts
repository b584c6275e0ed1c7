import type { ReplicaId } from '../../core/ids.js';
import type { Clock } from '../../core/ports.js';

/** Dependencies of the local records. */
export interface LocalRecordsOptions {
  readonly clock: Clock;
  /** Returns whether etcd has the present state of an own registration. Undefined if the id has none. */
  readonly isRecorded: (id: ReplicaId) => boolean | undefined;
  /** Returns why etcd doesn't have it. */
  readonly explain: (id: ReplicaId) => string;
  /** Called when a registration becomes local, with the reason, and with undefined when it is shared again. */
  readonly onChange: (id: ReplicaId, reason: string | undefined) => void;
}

/** Interval of the checks, in ms. */
const CHECK_INTERVAL_MS = 1000;

/**
 * Time after which a registration that etcd doesn't have counts as local, in ms. Longer than it takes to write all records
 * again under a new lease, which a registrant need not know.
 */
const GRACE_MS = 3000;

/**
 * The registrations that are only in this API server, because etcd doesn't have their present state: it is too large, etcd is
 * full, or etcd doesn't answer. The registrant must know, because a caller at another server can't find its replica.
 */
export class LocalRecords {
  readonly #options: LocalRecordsOptions;
  /** Since when etcd has lacked the present state of each registration that doesn't count as local yet. Oldest first. */
  readonly #waiting = new Map<ReplicaId, number>();
  readonly #local = new Map<ReplicaId, string>();
  #cancelTimer = (): void => {};

  constructor(options: LocalRecordsOptions) {
    this.#options = options;
  }

  /** The ids of the local registrations, with the reasons. */
  get reasons(): ReadonlyMap<ReplicaId, string> {
    return this.#local;
  }

  /** Starts the checks, until `close`. */
  start(): void {
    this.#cancelTimer = this.#options.clock.schedule(CHECK_INTERVAL_MS, () => this.start(), { background: true });
    for (const id of this.#local.keys()) this.check(id);
    const nowMs = this.#options.clock.nowMs();
    for (const [id, sinceMs] of this.#waiting) {
      if (nowMs - sinceMs < GRACE_MS) break;
      this.markIfUnrecorded(id);
    }
  }

  /** Records that an id can need a write. */
  add(id: ReplicaId): void {
    if (this.#local.has(id) || this.#waiting.has(id) || this.#options.isRecorded(id) !== false) return;
    this.#waiting.set(id, this.#options.clock.nowMs());
  }

  /** Forgets what was known, because there is a new registration of this id. */
  forget(id: ReplicaId): void {
    this.#waiting.delete(id);
    this.#local.delete(id);
  }

  /** Checks whether etcd has a registration now. */
  check(id: ReplicaId): void {
    const isRecorded = this.#options.isRecorded(id);
    if (isRecorded === false) return;
    this.#waiting.delete(id);
    if (this.#local.delete(id) && isRecorded) this.#options.onChange(id, undefined);
  }

  /** Counts a registration as local, unless etcd has it. */
  markIfUnrecorded(id: ReplicaId): void {
    this.check(id);
    if (this.#local.has(id) || this.#options.isRecorded(id) !== false) return;
    this.#waiting.delete(id);
    const reason = this.#options.explain(id);
    this.#local.set(id, reason);
    this.#options.onChange(id, reason);
  }

  close(): void {
    this.#cancelTimer();
  }
}
