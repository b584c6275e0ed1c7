import type { SerializedReplica } from '../api/serialized-replica.js';
import { formatPutEvent, formatRemovedEvent, type RemovalReason } from '../api/watch-events.js';
import { estimateRegistrationBytes } from '../core/registration-bytes.js';
import { NO_LONGER_MATCHES, type RegistryChange } from '../core/registry-changes.js';
import type { Registration } from '../core/replica.js';
import { isWatched, type ReplicaFilter } from '../core/replica-filter.js';

/** Limits on the changes that a client can miss and still get. */
export interface WatchHistoryLimits {
  readonly maxChanges: number;
  /** Maximum size of the changes, in bytes. One change is always kept. */
  readonly maxBytes: number;
}

export const DEFAULT_HISTORY_LIMITS: WatchHistoryLimits = { maxChanges: 10_000, maxBytes: 16 * 1024 * 1024 };

/** Size of a change without its registrations, in bytes. */
const CHANGE_BYTES = 500;

/** Number of removed entries at the start of the array that is worth a copy of the rest. */
const MAX_GAP = 1024;

/** Serializes the row of a registration. */
export type SerializeRow = (registration: Registration<SerializedReplica>) => string;

/** The last changes of the registry, in order. Each is serialized at most once, whatever the number of its readers. */
export class WatchHistory {
  readonly #epoch: string;
  readonly #serialize: SerializeRow;
  readonly #limits: WatchHistoryLimits;
  /** The changes; undefined where one was dropped. */
  #entries: (HistoryEntry | undefined)[] = [];
  /** Index of the oldest change. */
  #start = 0;
  #bytes = 0;
  #latest: number;

  /** The history begins after the change with the number `revision`. */
  constructor(epoch: string, revision: number, serialize: SerializeRow, limits = DEFAULT_HISTORY_LIMITS) {
    this.#epoch = epoch;
    this.#latest = revision;
    this.#serialize = serialize;
    this.#limits = limits;
  }

  /** Number of the last change. */
  get latest(): number {
    return this.#latest;
  }

  /** Returns whether all changes after this one are known. */
  hasAllAfter(revision: number): boolean {
    return revision <= this.#latest && revision >= this.#latest - (this.#entries.length - this.#start);
  }

  /** Adds the next change, and drops the oldest ones over the limits. */
  add(change: RegistryChange<SerializedReplica>): void {
    const entry = new HistoryEntry(change);
    this.#entries.push(entry);
    this.#latest = change.revision;
    this.#bytes += entry.bytes;
    while (this.#entries.length - this.#start > 1 && this.#isOverLimit()) {
      this.#bytes -= this.#entries[this.#start]?.bytes ?? 0;
      this.#entries[this.#start++] = undefined;
    }
    if (this.#start < MAX_GAP) return;
    this.#entries = this.#entries.slice(this.#start);
    this.#start = 0;
  }

  /** Returns the event of a change for a filter; undefined if the change doesn't concern it. */
  format(revision: number, filter: ReplicaFilter): Buffer | undefined {
    const entry = this.#entries[this.#entries.length - 1 - (this.#latest - revision)];
    return entry?.format(filter, this.#epoch, this.#serialize);
  }

  #isOverLimit(): boolean {
    const { maxChanges, maxBytes } = this.#limits;
    return this.#entries.length - this.#start > maxChanges || this.#bytes > maxBytes;
  }
}

/** A change with its events. */
class HistoryEntry {
  readonly #change: RegistryChange<SerializedReplica>;
  readonly #events = new Map<'put' | RemovalReason, Buffer>();
  /** Estimated size, including the events. */
  readonly bytes: number;

  constructor(change: RegistryChange<SerializedReplica>) {
    const { registration, previous } = change;
    this.#change = change;
    this.bytes =
      CHANGE_BYTES +
      (registration ? 2 * estimateRegistrationBytes(registration.replica) : 0) +
      (previous && previous.replica !== registration?.replica ? estimateRegistrationBytes(previous.replica) : 0);
  }

  format(filter: ReplicaFilter, epoch: string, serialize: SerializeRow): Buffer | undefined {
    const { registration, previous, reason = 'unknown', replicaId, revision } = this.#change;
    const position = { epoch, number: revision };
    if (registration && isWatched(filter, registration.replica)) {
      return this.#getEvent('put', () => formatPutEvent(serialize(registration), position));
    }
    if (!previous || !isWatched(filter, previous.replica)) return undefined;
    const removal = registration ? NO_LONGER_MATCHES : reason;
    return this.#getEvent(removal, () => formatRemovedEvent(replicaId, removal, position));
  }

  #getEvent(kind: 'put' | RemovalReason, format: () => string): Buffer {
    let event = this.#events.get(kind);
    if (!event) {
      event = Buffer.from(format());
      this.#events.set(kind, event);
    }
    return event;
  }
}
