import { formatDroppedEvent, formatSnapshotEvent, formatSyncedEvent, formatWarmEvent } from '../api/watch-events.js';
import type { Clock } from '../core/ports.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import type { EventStreamResponse } from './event-stream-response.js';
import type { WatchFeed } from './watch-feed.js';
import type { LoadReceiver } from './watch-loads.js';
import type { WatchSnapshot } from './watch-snapshot.js';

/** Timeout for a client that has unread events, in ms. */
const BLOCKED_TIMEOUT_MS = 30_000;

/** Timeout for a client to read a whole snapshot, in ms. A snapshot of 100,000 replicas has 35 MB. */
const SNAPSHOT_TIMEOUT_MS = 120_000;

const SLOW = 'this client reads too slowly: changes that it has not received are no longer known';
const BLOCKED = `this client has read nothing for ${BLOCKED_TIMEOUT_MS / 1000} s`;
const SNAPSHOT_SLOW = `this client has not read the snapshot within ${SNAPSHOT_TIMEOUT_MS / 1000} s`;
const NO_MEMORY = 'too many clients read slowly, and this one has been slow for longest';
const NO_ROOM = 'too many long snapshots are being sent; try again';

/** Options of a {@link Watcher}. */
export interface WatcherOptions {
  readonly feed: WatchFeed;
  readonly epoch: string;
  readonly clock: Clock;
  readonly isWarming: () => boolean;
  /** Calls the function in a later turn of the event loop, in which there is time for a part of a snapshot. */
  readonly scheduleTurn: (task: () => void) => void;
  /** The last change that the client has received. Undefined for a client that needs a snapshot. */
  readonly resumeAfter: number | undefined;
  /** Whether the client can think that the server is still warming. */
  readonly wasWarming: boolean;
}

/** A snapshot that a client is receiving. */
interface SnapshotReading {
  readonly snapshot: WatchSnapshot;
  readonly startedAtMs: number;
  readonly stop: () => void;
  hasBegun: boolean;
  nextPart: number;
  /** Whether a part can be sent now. */
  turn: 'none' | 'scheduled' | 'now';
}

/** Decides which events one stream gets next. It holds a position, and no events other than loads. */
export class Watcher implements LoadReceiver {
  readonly #options: WatcherOptions;
  #stream: EventStreamResponse | undefined;
  #reading: SnapshotReading | undefined;
  /** Number of the last change that was sent. */
  #cursor: number;
  #wasWarming: boolean;
  #lastReadAtMs: number;
  /** Whether the client has come back and is receiving the changes that it missed. */
  #isCatchingUp: boolean;
  /** The `load` events that are sent next. */
  #loads: Buffer[] = [];

  constructor(options: WatcherOptions) {
    const { feed, clock, resumeAfter, wasWarming } = options;
    this.#options = options;
    this.#wasWarming = wasWarming;
    this.#lastReadAtMs = clock.nowMs();
    this.#cursor = resumeAfter ?? 0;
    this.#isCatchingUp = resumeAfter !== undefined;
    if (resumeAfter !== undefined) return;
    const snapshot = feed.getSnapshot();
    const stop = snapshot.addReader(() => this.notify());
    this.#reading = { snapshot, startedAtMs: clock.nowMs(), stop, hasBegun: false, nextPart: 0, turn: 'none' };
  }

  get feed(): WatchFeed {
    return this.#options.feed;
  }

  get filter(): ReplicaFilter {
    return this.feed.filter;
  }

  /** Number of bytes that wait for the client. */
  get unsentBytes(): number {
    return this.#stream?.unsentBytes ?? 0;
  }

  /** Time for which the client has had unread events, in ms; 0 if it has none. */
  get blockedMs(): number {
    return this.#stream?.isBlocked ? this.#options.clock.nowMs() - this.#lastReadAtMs : 0;
  }

  /** Sends the events that are there. */
  notify(): void {
    this.#stream?.notify();
  }

  sendLoads(events: readonly Buffer[]): void {
    if (this.#reading || !this.#stream || this.#stream.isBlocked) return;
    this.#loads = [...events];
    this.notify();
  }

  /** Returns the next events; empty if there are none now. */
  read(stream: EventStreamResponse): string | Buffer {
    this.#stream = stream;
    this.#lastReadAtMs = this.#options.clock.nowMs();
    if (this.#reading) return this.#readSnapshot(this.#reading);
    const changes = this.#readWarm() ?? this.#readChanges();
    return changes.length > 0 ? changes : (this.#loads.shift() ?? changes);
  }

  /** Drops a client that is too slow. */
  dropIfSlow(): void {
    const { clock, feed } = this.#options;
    if (this.#reading && clock.nowMs() - this.#reading.startedAtMs > SNAPSHOT_TIMEOUT_MS) this.#drop(SNAPSHOT_SLOW);
    else if (this.blockedMs > BLOCKED_TIMEOUT_MS) this.#drop(BLOCKED);
    else if (!feed.hasAllAfter(this.#reading?.snapshot.revision ?? this.#cursor)) this.#drop(SLOW);
  }

  /** Drops a client because all slow clients together take too much memory. */
  dropForMemory(): void {
    this.#drop(NO_MEMORY);
  }

  /** Ends the stream. */
  end(): void {
    this.#stream?.end();
  }

  /** Releases the snapshot. To be called when the stream has ended. */
  close(): void {
    this.#reading?.stop();
    this.#reading = undefined;
    this.#loads = [];
  }

  #readSnapshot(reading: SnapshotReading): string | Buffer {
    const { snapshot } = reading;
    if (!reading.hasBegun) {
      reading.hasBegun = true;
      this.#wasWarming = this.#options.isWarming();
      return formatSnapshotEvent(this.#wasWarming);
    }
    const part = snapshot.getPart(reading.nextPart);
    if (part) return this.#takeTurn(reading) ? part : '';
    if (snapshot.hasFailed) return this.#endWith(NO_ROOM);
    if (!snapshot.isComplete) return '';
    this.#cursor = snapshot.revision;
    this.close();
    return formatSyncedEvent(this.#position);
  }

  /** Returns whether the next part can be sent now. If it can't, waits for a turn. */
  #takeTurn(reading: SnapshotReading): boolean {
    if (reading.turn === 'now') {
      reading.turn = 'none';
      reading.nextPart++;
      return true;
    }
    if (reading.turn === 'none') {
      reading.turn = 'scheduled';
      this.#options.scheduleTurn(() => {
        reading.turn = 'now';
        this.notify();
      });
    }
    return false;
  }

  #readWarm(): string | undefined {
    if (!this.#wasWarming || this.#options.isWarming()) return undefined;
    this.#wasWarming = false;
    return formatWarmEvent(this.#position);
  }

  #readChanges(): string | Buffer {
    const changes = this.#options.feed.read(this.#cursor);
    if (!changes) return this.#endWith(SLOW);
    this.#cursor = changes.to;
    if (!this.#isCatchingUp || changes.events.length > 0) return changes.events;
    this.#isCatchingUp = false;
    return formatSyncedEvent(this.#position);
  }

  #endWith(reason: string): string {
    this.#drop(reason);
    return '';
  }

  /** Ends the stream with the reason. */
  #drop(reason: string): void {
    this.#stream?.end(formatDroppedEvent(reason));
  }

  get #position() {
    return { epoch: this.#options.epoch, number: this.#cursor };
  }
}
