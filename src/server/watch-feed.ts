import type { ReplicaFilter } from '../core/replica-filter.js';
import type { WatchHistory } from './watch-history.js';
import { type SnapshotOptions, type WatchedList, WatchSnapshot } from './watch-snapshot.js';

/** Maximum size of the changes that are read at once, in bytes, unless a single change is larger. */
const MAX_READ_BYTES = 64 * 1024;

/** Maximum number of reads that are kept for other streams. */
const MAX_RECENT_READS = 16;

/** Time for which a snapshot is used again, in ms. Its readers get the changes since. */
const SNAPSHOT_MAX_AGE_MS = 2000;

/** Events of consecutive changes. */
export interface WatchedChanges {
  /** Number of the last change. */
  readonly to: number;
  /** Empty if no change concerns the filter. */
  readonly events: Buffer;
}

/** Options of a {@link WatchFeed}. */
export interface WatchFeedOptions extends SnapshotOptions {
  readonly history: WatchHistory;
  /** Returns the list as it is now. */
  readonly readList: () => WatchedList;
}

const NO_EVENTS = Buffer.alloc(0);

/** Changes for all streams with one filter. Bytes that several streams read are serialized once. */
export class WatchFeed {
  readonly filter: ReplicaFilter;
  readonly #options: WatchFeedOptions;
  /** Recent reads by the change that they begin after. */
  readonly #recent = new Map<number, WatchedChanges>();
  #snapshot: WatchSnapshot | undefined;
  /** Number of open streams. */
  streams = 0;

  constructor(filter: ReplicaFilter, options: WatchFeedOptions) {
    this.filter = filter;
    this.#options = options;
  }

  /** Returns whether all changes after this one are known. */
  hasAllAfter(revision: number): boolean {
    return this.#options.history.hasAllAfter(revision);
  }

  /** Returns the events of the changes after this one, or of the first of them. Undefined if some are no longer known. */
  read(from: number): WatchedChanges | undefined {
    const { history } = this.#options;
    if (!history.hasAllAfter(from)) return undefined;
    let changes: WatchedChanges = { to: from, events: NO_EVENTS };
    while (changes.to < history.latest && changes.events.length === 0) {
      const next = this.#recent.get(changes.to) ?? this.#readHistory(changes.to);
      if (this.streams > 1 && this.#recent.size < MAX_RECENT_READS) this.#recent.set(changes.to, next);
      changes = next;
    }
    return changes;
  }

  /** Releases the bytes that several streams read. To be called when all of them have been notified. */
  releaseReads(): void {
    this.#recent.clear();
  }

  #readHistory(from: number): WatchedChanges {
    const { history } = this.#options;
    const found: Buffer[] = [];
    let bytes = 0;
    let to = from;
    while (to < history.latest && bytes < MAX_READ_BYTES) {
      const event = history.format(to + 1, this.filter);
      // A large event gets a read for itself, and shares the bytes of the history.
      if (event && bytes > 0 && bytes + event.length > MAX_READ_BYTES) break;
      to++;
      if (!event) continue;
      found.push(event);
      bytes += event.length;
    }
    const [first = NO_EVENTS] = found;
    return { to, events: found.length > 1 ? Buffer.concat(found, bytes) : first };
  }

  /** Returns a snapshot that is at most 2 s old. */
  getSnapshot(): WatchSnapshot {
    const { clock, history, readList } = this.#options;
    const cached = this.#snapshot;
    if (cached && !cached.hasFailed && history.hasAllAfter(cached.revision)) return cached;
    cached?.endCaching();
    const snapshot = new WatchSnapshot(this.filter, readList(), this.#options);
    this.#snapshot = snapshot;
    const stopCaching = (): void => {
      snapshot.endCaching();
      if (this.#snapshot === snapshot) this.#snapshot = undefined;
    };
    clock.schedule(SNAPSHOT_MAX_AGE_MS, stopCaching, { background: true });
    return snapshot;
  }
}
