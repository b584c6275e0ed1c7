import type { SerializedReplica } from '../api/serialized-replica.js';
import { formatPutEvent } from '../api/watch-events.js';
import type { Clock } from '../core/ports.js';
import { isWatched, type ReplicaFilter } from '../core/replica-filter.js';
import type { ReplicaPage } from '../core/replica-pages.js';
import type { HeldList, ListMemory } from './list-memory.js';
import type { SerializeRow } from './watch-history.js';

/** Size of a part, in bytes, unless a single event is larger. */
const PART_BYTES = 64 * 1024;

/** Maximum time of a turn of the event loop for a snapshot, in ms. One page or one part can exceed it. */
const SLICE_MS = 2;

/** Number of the position in the events of a snapshot. A client that has only a part of a snapshot gets a new one. */
const UNRESUMABLE = 0;

/** A list at one revision. */
export interface WatchedList {
  readonly pages: readonly ReplicaPage<SerializedReplica>[];
  readonly revision: number;
  readonly epoch: string;
}

/** Dependencies of snapshots. */
export interface SnapshotOptions {
  readonly clock: Clock;
  readonly memory: ListMemory;
  readonly serialize: SerializeRow;
  /** Resolves in a later turn of the event loop, for one snapshot at a time. */
  readonly waitForTurn: () => Promise<void>;
}

/** The events of all matches at one revision, in parts. Several streams share it. */
export class WatchSnapshot {
  readonly revision: number;
  readonly startedAtMs: number;
  readonly #options: SnapshotOptions;
  readonly #list: HeldList;
  readonly #parts: Buffer[] = [];
  readonly #readers = new Set<() => void>();
  #state: 'growing' | 'complete' | 'failed' = 'growing';
  #isCached = true;

  /** Starts to serialize the matches of a list. */
  constructor(filter: ReplicaFilter, list: WatchedList, options: SnapshotOptions) {
    this.revision = list.revision;
    this.startedAtMs = options.clock.nowMs();
    this.#options = options;
    this.#list = options.memory.createList();
    void this.#grow(filter, list);
  }

  /** Whether all parts exist. */
  get isComplete(): boolean {
    return this.#state === 'complete';
  }

  /** Whether it took more memory than there was. */
  get hasFailed(): boolean {
    return this.#state === 'failed';
  }

  /** Returns a part; undefined if it doesn't exist yet, or after the last one. */
  getPart(index: number): Buffer | undefined {
    return this.#parts[index];
  }

  /** Calls the listener whenever there are more parts. The returned function ends that. */
  addReader(onProgress: () => void): () => void {
    this.#readers.add(onProgress);
    return () => {
      this.#readers.delete(onProgress);
      this.#releaseIfUnused();
    };
  }

  /** Releases the memory as soon as there are no readers. */
  endCaching(): void {
    this.#isCached = false;
    this.#releaseIfUnused();
  }

  async #grow(filter: ReplicaFilter, list: WatchedList): Promise<void> {
    const { clock, waitForTurn } = this.#options;
    await waitForTurn();
    let sliceEndsAtMs = clock.nowMs() + SLICE_MS;
    for (const part of this.#serialize(filter, list)) {
      if (this.#state === 'failed') return;
      if (part && !this.#add(part)) return;
      if (clock.nowMs() < sliceEndsAtMs) continue;
      await this.#notify();
      await waitForTurn();
      sliceEndsAtMs = clock.nowMs() + SLICE_MS;
    }
    if (this.#state === 'growing') this.#state = 'complete';
    await this.#notify();
  }

  /** Yields the parts, and undefined after each page. */
  *#serialize(filter: ReplicaFilter, { pages, epoch }: WatchedList): Generator<Buffer | undefined> {
    const position = { epoch, number: UNRESUMABLE };
    let events: string[] = [];
    let length = 0;
    for (const { registrations } of pages) {
      for (const registration of registrations) {
        if (!isWatched(filter, registration.replica)) continue;
        const event = formatPutEvent(this.#options.serialize(registration), position);
        events.push(event);
        length += event.length;
        if (length < PART_BYTES) continue;
        yield Buffer.from(events.join(''));
        events = [];
        length = 0;
      }
      yield;
    }
    if (length > 0) yield Buffer.from(events.join(''));
  }

  #add(part: Buffer): boolean {
    if (this.#list.add(part)) {
      this.#parts.push(part);
      return true;
    }
    this.#fail();
    void this.#notify();
    return false;
  }

  #releaseIfUnused(): void {
    if (!this.#isCached && this.#readers.size === 0 && this.#state !== 'failed') this.#fail();
  }

  #fail(): void {
    this.#state = 'failed';
    this.#list.release();
    this.#parts.length = 0;
  }

  /** Notifies all readers. When a whole fleet connects at once, that takes several turns of the event loop. */
  async #notify(): Promise<void> {
    const { clock, waitForTurn } = this.#options;
    let sliceEndsAtMs = clock.nowMs() + SLICE_MS;
    for (const onProgress of [...this.#readers]) {
      if (clock.nowMs() >= sliceEndsAtMs) {
        await waitForTurn();
        sliceEndsAtMs = clock.nowMs() + SLICE_MS;
      }
      onProgress();
    }
  }
}
