import type { Clock, Random } from '../../core/ports.js';
import {
  type ConditionalWrite,
  countValueBytes,
  readOutcome,
  toOperation,
  type WriteOutcome,
} from './conditional-write.js';
import { type EtcdApi, type EtcdError, toEtcdError } from './etcd-api.js';
import type { RequestOp, TxnResponse } from './gen/etcd.js';
import { createRetryDelays } from './retry-delays.js';

/** Dependencies of a batch writer. `Id` names what a write is about; `Write` can have more than the writer needs. */
export interface BatchWriterOptions<Id, Write extends ConditionalWrite> {
  readonly api: Pick<EtcdApi, 'txn'>;
  readonly clock: Clock;
  readonly random: Random;
  /**
   * Put that each batch with a put has beside its writes. etcd counts only puts on the first level against its quota: without this
   * one, the nested writes would fill an etcd that is full already.
   */
  readonly quotaProbe: RequestOp;
  /** Returns the write that an id needs now; undefined for none. */
  readonly findWrite: (id: Id) => Write | undefined;
  /** Returns whether the write of an id can be a deletion. Faster than `findWrite`. */
  readonly canBeDeletion: (id: Id) => boolean;
  /** Called for each write of a batch that etcd has answered, with its revision. */
  readonly onOutcome: (id: Id, write: Write, outcome: WriteOutcome, revision: bigint) => void;
  /** Called when etcd doesn't accept a write that was alone in its batch. It is not tried again until it is added again. */
  readonly onRejected: (id: Id, write: Write, error: EtcdError) => void;
  /** Called for any other failure of a batch, before it is tried again. */
  readonly onFailure: (error: EtcdError, writes: ReadonlyMap<Id, Write>) => void;
}

/** Maximum number of writes in a batch. etcd accepts 128 operations by default. */
const MAX_WRITES = 100;

/** Maximum size of the values in the request of a batch, in bytes. etcd accepts requests of 1.5 MiB by default. */
const MAX_BYTES = 1024 * 1024;

/**
 * Minimum time from a batch with several writes to the next one, in ms, unless that is full. A transaction costs a server about 0.5 ms,
 * so without it 1,000 registrants that come at once would double the processor time of their registrations. A write that comes alone
 * doesn't wait.
 */
const PACE_MS = 20;

/**
 * Writes in batches: one transaction with up to 100 conditional writes, each with its own outcome. Ids are added, not writes:
 * the writer asks for the write when it sends the batch, so several changes of one id are one write, and a write whose fate is
 * unknown is simply asked for again.
 */
export class BatchWriter<Id, Write extends ConditionalWrite> {
  readonly #options: BatchWriterOptions<Id, Write>;
  readonly #delays: ReturnType<typeof createRetryDelays>;
  readonly #waiting = new Set<Id>();
  #inFlight: ReadonlyMap<Id, Write> = new Map();
  #maxWrites = MAX_WRITES;
  /** Whether etcd has no space, so that it accepts only transactions without a put. */
  #isFull = false;
  /** Earliest time of the next batch that is not full. */
  #nextAtMs = 0;
  #scheduled: 'no' | 'paced' | 'yes' = 'no';
  #cancelTimer = (): void => {};
  #isClosed = false;

  constructor(options: BatchWriterOptions<Id, Write>) {
    this.#options = options;
    this.#delays = createRetryDelays(options.random);
  }

  /** Adds an id whose key has to be written. */
  add(id: Id): void {
    this.#waiting.add(id);
    if (this.#inFlight.size > 0 || this.#scheduled === 'yes') return;
    if (this.#scheduled === 'no' || this.#isNextFull) this.#scheduleNext();
  }

  /** Returns whether a write of this id is on its way. */
  isWriting(id: Id): boolean {
    return this.#inFlight.has(id);
  }

  /** Sends what waits now, without waiting for the end of a backoff. */
  hurry(): void {
    if (this.#waiting.size > 0 && this.#inFlight.size === 0) this.#schedule(0);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
  }

  get #isNextFull(): boolean {
    return this.#waiting.size >= this.#maxWrites;
  }

  /** Schedules the next batch: at once if it is full, otherwise not before {@link PACE_MS} have passed. */
  #scheduleNext(): void {
    const waitMs = this.#isNextFull ? 0 : this.#nextAtMs - this.#options.clock.nowMs();
    this.#schedule(Math.max(0, waitMs));
    if (waitMs > 0) this.#scheduled = 'paced';
  }

  #schedule(delayMs: number): void {
    this.#cancelTimer();
    if (this.#isClosed) return;
    this.#scheduled = 'yes';
    // An immediate in the background would wait until the event loop wakes up for something else.
    const background = delayMs > 0;
    this.#cancelTimer = this.#options.clock.schedule(delayMs, () => void this.#flush(), { background });
  }

  async #flush(): Promise<void> {
    this.#scheduled = 'no';
    const batch = this.#takeBatch();
    if (batch.size === 0) return;
    if (batch.size > 1) this.#nextAtMs = this.#options.clock.nowMs() + PACE_MS;
    this.#inFlight = batch;
    let response: TxnResponse;
    try {
      const operations = [...batch.values()].map(toOperation);
      if (hasPut(batch)) operations.push(this.#options.quotaProbe);
      response = await this.#options.api.txn({ compare: [], success: operations, failure: [] });
    } catch (error) {
      return this.#fail(batch, toEtcdError(error));
    }
    this.#inFlight = new Map();
    if (this.#isClosed) return;
    this.#delays.reset();
    this.#maxWrites = Math.min(this.#maxWrites * 2, MAX_WRITES);
    if (hasPut(batch)) this.#isFull = false;
    const revision = response.header?.revision ?? 0n;
    let index = 0;
    for (const [id, write] of batch) {
      this.#options.onOutcome(id, write, readOutcome(response.responses[index++]), revision);
    }
    if (this.#waiting.size > 0) this.#scheduleNext();
  }

  /** Takes the next writes. While etcd is full, deletions go first, alone: the replicas that left would stay at other servers. */
  #takeBatch(): Map<Id, Write> {
    const deletions = this.#isFull ? this.#take(this.#options.canBeDeletion, isDeletion) : undefined;
    return deletions && deletions.size > 0 ? deletions : this.#take();
  }

  #take(isIdTaken: (id: Id) => boolean = always, isTaken: (write: Write) => boolean = always): Map<Id, Write> {
    const batch = new Map<Id, Write>();
    let bytes = 0;
    for (const id of this.#waiting) {
      if (!isIdTaken(id)) continue;
      const write = this.#options.findWrite(id);
      const size = write ? countValueBytes(write) : 0;
      if (write && batch.size > 0 && (batch.size >= this.#maxWrites || bytes + size > MAX_BYTES)) break;
      if (write && !isTaken(write)) continue;
      this.#waiting.delete(id);
      if (!write) continue;
      batch.set(id, write);
      bytes += size;
    }
    return batch;
  }

  #fail(batch: ReadonlyMap<Id, Write>, error: EtcdError): void {
    this.#inFlight = new Map();
    if (this.#isClosed) return;
    if (error.kind === 'rejected' && batch.size === 1) {
      for (const [id, write] of batch) this.#options.onRejected(id, write, error);
      if (this.#waiting.size > 0) this.#schedule(0);
      return;
    }
    this.#isFull = error.kind === 'no_space';
    for (const id of batch.keys()) this.#waiting.add(id);
    // One write can make etcd reject the others: halves find it.
    if (error.kind === 'rejected') this.#maxWrites = Math.ceil(batch.size / 2);
    this.#options.onFailure(error, batch);
    this.#schedule(error.kind === 'rejected' ? 0 : this.#delays.computeNextDelayMs());
  }
}

function always(): boolean {
  return true;
}

function hasPut(batch: ReadonlyMap<unknown, ConditionalWrite>): boolean {
  for (const write of batch.values()) if (!isDeletion(write)) return true;
  return false;
}

function isDeletion({ kind }: ConditionalWrite): boolean {
  return kind === 'delete';
}
