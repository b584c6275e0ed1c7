import type { InstanceId } from '../core/ids.js';
import type { Instance, NumberedInstance } from '../core/replica.js';

/** Maximum number of remembered processes that lost their registration to this one. */
const MAX_REPLACED = 16;

/** This process as the holder of a replica id: its id and sequence number, and the processes that it replaced. */
export class OwnInstance implements Instance {
  readonly id: InstanceId;
  readonly startedMs: number;
  readonly #replaced = new Set<InstanceId>();
  #seq = 0;

  constructor(id: InstanceId, startedMs: number) {
    this.id = id;
    this.startedMs = startedMs;
  }

  /** The number of the last registration or change. */
  get seq(): number {
    return this.#seq;
  }

  /** Numbers a registration or a change, which makes it newer than all others of this process. */
  nextSeq(): NumberedInstance {
    this.#seq++;
    return { id: this.id, startedMs: this.startedMs, seq: this.#seq };
  }

  /** Records that a registration of this process replaced one of another. */
  recordReplaced(other: Instance): void {
    if (this.#replaced.size >= MAX_REPLACED) this.#replaced.clear();
    if (other.id !== this.id) this.#replaced.add(other.id);
  }

  /**
   * Returns whether this process keeps the replica id that another process took at some server. It does if each replaced the
   * other somewhere, and this one started later, or has the greater id. See `IdArbitration` for the whole rule. A process that
   * doesn't report itself (undefined) wins.
   */
  keepsIdAgainst(other: Instance | undefined): boolean {
    if (!other || !this.#replaced.has(other.id)) return false;
    if (this.startedMs !== other.startedMs) return this.startedMs > other.startedMs;
    return this.id > other.id;
  }
}
