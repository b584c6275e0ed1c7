import type { ServerResponse } from 'node:http';
import type { EventPosition } from '../api/event-frames.js';
import { toHost } from '../core/host.js';
import type { Clock } from '../core/ports.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import type { DeadPeerDetector } from './dead-peer-detector.js';
import { spreadEvenly } from './drain.js';
import type { EventStreamResponse, EventStreams } from './event-stream-response.js';
import { ListMemory } from './list-memory.js';
import { TurnQueue } from './turn-queue.js';
import { type WatchedRegistry, WatchFeeds } from './watch-feeds.js';
import type { WatchHistoryLimits } from './watch-history.js';
import type { Watcher } from './watcher.js';

/** Time for which changes are collected before they are sent, in ms. */
const COLLECT_MS = 50;

/** Maximum time of a turn of the event loop for sending changes, in ms. */
const SLICE_MS = 5;

/** Interval at which slow clients are looked for, in ms. */
const SLOW_CHECK_INTERVAL_MS = 1000;

/** Maximum size of all snapshots that are being sent, and of the changes that wait for slow clients, in bytes. */
const MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024;
const MAX_UNSENT_BYTES = 256 * 1024 * 1024;

/** Options of a {@link WatchHub}. */
export interface WatchHubOptions {
  readonly clock: Clock;
  readonly streams: Pick<EventStreams, 'open'>;
  readonly deadPeers: Pick<DeadPeerDetector, 'watch'>;
  /** Time after the start for which replicas can still be reconnecting, in ms. */
  readonly warmingMs: number;
  readonly historyLimits?: WatchHistoryLimits | undefined;
  readonly maxUnsentBytes?: number | undefined;
  readonly maxSnapshotBytes?: number | undefined;
}

/** Sends the changes of registries to the clients that watch them. All streams together share its limits. */
export class WatchHub {
  readonly #options: WatchHubOptions;
  readonly #snapshotMemory: ListMemory;
  readonly #turns: TurnQueue;
  readonly #feeds = new Map<WatchedRegistry, WatchFeeds>();
  readonly #watchers = new Set<Watcher>();
  #isWarming: boolean;
  #cancelSlowCheck = (): void => {};
  #isSending = false;
  #hasChanged = false;
  #isDraining = false;
  #lastSentAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: WatchHubOptions) {
    const { clock, warmingMs, maxSnapshotBytes = MAX_SNAPSHOT_BYTES } = options;
    this.#options = options;
    this.#turns = new TurnQueue(clock);
    this.#snapshotMemory = new ListMemory(maxSnapshotBytes);
    this.#isWarming = warmingMs > 0;
    if (warmingMs > 0) clock.schedule(warmingMs, () => this.#onWarm(), { background: true });
  }

  /** Number of open streams. */
  get size(): number {
    return this.#watchers.size;
  }

  /**
   * Turns a response into a stream of the replicas of a registry that match a filter. It continues after the client's last event,
   * if that is known. Otherwise it begins with a snapshot.
   */
  watch(
    registry: WatchedRegistry,
    filter: ReplicaFilter,
    lastEvent: EventPosition | undefined,
    response: ServerResponse,
  ): EventStreamResponse {
    const { streams, deadPeers } = this.#options;
    const feeds = this.#feeds.get(registry) ?? this.#createFeeds(registry);
    const watcher = feeds.add(filter, lastEvent);
    this.#watchers.add(watcher);
    if (this.#watchers.size === 1) this.#checkForSlowClients();
    const { socket } = response;
    const onDead = (): void => void response.destroy();
    const unwatch = socket ? deadPeers.watch({ host: toHost(socket.remoteAddress), socket, onDead }) : () => {};
    const stream = streams.open(response, (open) => (this.#isDraining ? '' : watcher.read(open)));
    stream.onClosed(() => {
      unwatch();
      feeds.remove(watcher);
      this.#watchers.delete(watcher);
      if (this.#watchers.size === 0) this.#cancelSlowCheck();
    });
    return stream;
  }

  /**
   * Ends all streams, spread evenly over a time, so that their clients don't connect elsewhere at the same moment. Sends no
   * further changes: most are removals because this server stops, and say nothing about the replicas.
   */
  async drain(durationMs: number, signal?: AbortSignal): Promise<void> {
    this.#isDraining = true;
    const { clock } = this.#options;
    if (durationMs > 0) {
      await spreadEvenly([...this.#watchers], (watcher) => watcher.end(), { clock, durationMs, signal });
    }
    for (const watcher of this.#watchers) watcher.end();
  }

  #createFeeds(registry: WatchedRegistry): WatchFeeds {
    const { clock, historyLimits, warmingMs } = this.#options;
    const feeds = new WatchFeeds({
      registry,
      clock,
      historyLimits,
      snapshotMemory: this.#snapshotMemory,
      // Not by the clock: a timer can fire a millisecond early, and its streams are notified only once.
      isWarming: () => this.#isWarming,
      hasWarmed: warmingMs > 0,
      waitForTurn: () => this.#turns.wait(),
      scheduleTurn: (task) => this.#turns.add(task),
      onChange: () => this.#sendSoon(),
      isDraining: () => this.#isDraining,
    });
    this.#feeds.set(registry, feeds);
    return feeds;
  }

  /** Sends the changes at once, or 50 ms after the last ones. */
  #sendSoon(): void {
    this.#hasChanged = true;
    if (this.#isSending || this.#isDraining || this.#watchers.size === 0) return;
    this.#isSending = true;
    const { clock } = this.#options;
    const delayMs = Math.max(0, this.#lastSentAtMs + COLLECT_MS - clock.nowMs());
    // Not in the background: Node.js runs an immediate in the background only after the next event.
    clock.schedule(delayMs, () => this.#send());
  }

  #send(): void {
    const { clock } = this.#options;
    const watchers = [...this.#watchers];
    let next = 0;
    this.#hasChanged = false;
    this.#lastSentAtMs = clock.nowMs();
    const sendSlice = (): void => {
      const endsAtMs = clock.nowMs() + SLICE_MS;
      while (next < watchers.length && clock.nowMs() < endsAtMs) watchers[next++]?.notify();
      if (next < watchers.length) return void clock.schedule(0, sendSlice);
      for (const feeds of this.#feeds.values()) feeds.releaseReads();
      this.#isSending = false;
      if (this.#hasChanged) this.#sendSoon();
    };
    sendSlice();
  }

  /** Drops the clients that are too slow, and while all together take too much memory, those that are slow for longest. */
  #checkForSlowClients(): void {
    const { clock, maxUnsentBytes = MAX_UNSENT_BYTES } = this.#options;
    this.#cancelSlowCheck = clock.schedule(
      SLOW_CHECK_INTERVAL_MS,
      () => {
        this.#checkForSlowClients();
        for (const watcher of this.#watchers) watcher.dropIfSlow();
        const blocked = [...this.#watchers].filter(({ blockedMs }) => blockedMs > 0);
        let unsentBytes = blocked.reduce((sum, watcher) => sum + watcher.unsentBytes, 0);
        if (unsentBytes <= maxUnsentBytes) return;
        for (const watcher of blocked.sort((a, b) => b.blockedMs - a.blockedMs)) {
          if (unsentBytes <= maxUnsentBytes) return;
          unsentBytes -= watcher.unsentBytes;
          watcher.dropForMemory();
        }
      },
      { background: true },
    );
  }

  #onWarm(): void {
    this.#isWarming = false;
    for (const feeds of this.#feeds.values()) feeds.markWarm();
    this.#sendSoon();
  }
}
