import type { ServerResponse } from 'node:http';
import type { EventPosition } from '../api/event-frames.js';
import { serializeReplicaRow } from '../api/replica-list-json.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { listPairs } from '../core/capability.js';
import { toHost } from '../core/host.js';
import type { Clock } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { Registration } from '../core/replica.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import type { DeadPeerDetector } from './dead-peer-detector.js';
import { spreadEvenly } from './drain.js';
import type { EventStreamResponse, EventStreams } from './event-stream-response.js';
import { ListMemory } from './list-memory.js';
import { TurnQueue } from './turn-queue.js';
import { WatchFeed } from './watch-feed.js';
import { WatchHistory, type WatchHistoryLimits } from './watch-history.js';
import { WatchLoads } from './watch-loads.js';
import { Watcher } from './watcher.js';

/** Time for which changes are collected before they are sent, in ms. */
const COLLECT_MS = 50;

/** Maximum time of a turn of the event loop for sending changes, in ms. */
const SLICE_MS = 5;

/** Interval at which slow clients are looked for, in ms. */
const SLOW_CHECK_INTERVAL_MS = 1000;

/** Maximum size of all snapshots that are being sent, and of the changes that wait for slow clients, in bytes. */
const MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024;
const MAX_UNSENT_BYTES = 256 * 1024 * 1024;

/** Time for which the changes are remembered after the last client has left, in ms. */
const IDLE_HISTORY_MS = 60_000;

/** Options of a {@link WatchHub}. */
export interface WatchHubOptions {
  readonly registry: Pick<Registry<SerializedReplica>, 'changes' | 'pages' | 'describe' | 'find' | 'loads'>;
  readonly clock: Clock;
  readonly streams: Pick<EventStreams, 'open'>;
  readonly deadPeers: Pick<DeadPeerDetector, 'watch'>;
  /** Time after the start for which replicas can still be reconnecting, in ms. */
  readonly warmingMs: number;
  readonly historyLimits?: WatchHistoryLimits | undefined;
  readonly maxUnsentBytes?: number | undefined;
  readonly maxSnapshotBytes?: number | undefined;
}

/** Sends the changes of the registry to the clients that watch it. It costs nothing while there are none. */
export class WatchHub {
  readonly #options: WatchHubOptions;
  /** Number of the last change when the warming time ended; undefined before. */
  #warmRevision: number | undefined;
  readonly #snapshotMemory: ListMemory;
  readonly #turns: TurnQueue;
  readonly #watchers = new Set<Watcher>();
  readonly #feeds = new Map<string, WatchFeed>();
  readonly #loads: WatchLoads;
  /** Undefined while nobody has watched for a minute. */
  #history: WatchHistory | undefined;
  #cancelForgetting = (): void => {};
  #cancelSlowCheck = (): void => {};
  #unsubscribe = (): void => {};
  #isSending = false;
  #isDraining = false;
  #lastSentAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: WatchHubOptions) {
    const { clock, warmingMs, maxSnapshotBytes = MAX_SNAPSHOT_BYTES } = options;
    this.#options = options;
    this.#turns = new TurnQueue(clock);
    this.#snapshotMemory = new ListMemory(maxSnapshotBytes);
    this.#loads = new WatchLoads({
      ...options,
      waitForTurn: () => this.#turns.wait(),
      listReceivers: () => (this.#isDraining ? [] : [...this.#watchers]),
    });
    if (warmingMs > 0) clock.schedule(warmingMs, () => this.#onWarm(), { background: true });
  }

  /** Number of open streams. */
  get size(): number {
    return this.#watchers.size;
  }

  /**
   * Turns a response into a stream of the replicas that match a filter. It continues after the client's last event, if that
   * is known. Otherwise it begins with a snapshot.
   */
  watch(filter: ReplicaFilter, lastEvent: EventPosition | undefined, response: ServerResponse): EventStreamResponse {
    const { streams, deadPeers } = this.#options;
    const history = this.#startHistory();
    const key = createKey(filter);
    const feed = this.#feeds.get(key) ?? this.#createFeed(filter, history);
    this.#feeds.set(key, feed);
    feed.streams++;
    const watcher = this.#createWatcher(feed, this.#findResumePoint(lastEvent, history));
    this.#watchers.add(watcher);
    this.#loads.start();
    if (this.#watchers.size === 1) this.#checkForSlowClients();
    const { socket } = response;
    const onDead = (): void => void response.destroy();
    const unwatch = socket ? deadPeers.watch({ host: toHost(socket.remoteAddress), socket, onDead }) : () => {};
    const stream = streams.open(response, (open) => (this.#isDraining ? '' : watcher.read(open)));
    stream.onClosed(() => {
      unwatch();
      watcher.close();
      this.#watchers.delete(watcher);
      if (--feed.streams === 0) this.#feeds.delete(key);
      if (this.#watchers.size === 0) this.#forgetLater();
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

  /** Returns the history, and starts it if nobody has watched for a while. */
  #startHistory(): WatchHistory {
    this.#cancelForgetting();
    if (this.#history) return this.#history;
    const { registry, historyLimits } = this.#options;
    const { changes } = registry;
    const history = new WatchHistory(
      changes.epoch,
      changes.revision,
      (registration) => this.#serialize(registration),
      historyLimits,
    );
    this.#history = history;
    this.#unsubscribe = changes.subscribe((change) => {
      history.add(change);
      this.#sendSoon();
    });
    return history;
  }

  #forgetLater(): void {
    this.#cancelSlowCheck();
    this.#loads.stop();
    const forget = (): void => {
      this.#unsubscribe();
      this.#history = undefined;
    };
    this.#cancelForgetting = this.#options.clock.schedule(IDLE_HISTORY_MS, forget, { background: true });
  }

  /** Sends the changes at once, or 50 ms after the last ones. */
  #sendSoon(): void {
    if (this.#isSending || this.#isDraining || this.#watchers.size === 0) return;
    this.#isSending = true;
    const { clock } = this.#options;
    const delayMs = Math.max(0, this.#lastSentAtMs + COLLECT_MS - clock.nowMs());
    // Not in the background: Node.js runs an immediate in the background only after the next event.
    clock.schedule(delayMs, () => this.#send());
  }

  #send(): void {
    const { clock } = this.#options;
    const sentRevision = this.#history?.latest;
    const watchers = [...this.#watchers];
    let next = 0;
    this.#lastSentAtMs = clock.nowMs();
    const sendSlice = (): void => {
      const endsAtMs = clock.nowMs() + SLICE_MS;
      while (next < watchers.length && clock.nowMs() < endsAtMs) watchers[next++]?.notify();
      if (next < watchers.length) return void clock.schedule(0, sendSlice);
      for (const feed of this.#feeds.values()) feed.releaseReads();
      this.#isSending = false;
      if (this.#history?.latest !== sentRevision) this.#sendSoon();
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

  #createWatcher(feed: WatchFeed, resumeAfter: number | undefined): Watcher {
    const { clock, registry, warmingMs } = this.#options;
    // Not by the clock: a timer can fire a millisecond early, and its streams are notified only once.
    const isWarming = (): boolean => warmingMs > 0 && this.#warmRevision === undefined;
    const hasSentWarm = this.#warmRevision !== undefined && (resumeAfter ?? 0) > this.#warmRevision;
    const wasWarming = resumeAfter !== undefined && warmingMs > 0 && !hasSentWarm;
    const scheduleTurn = (task: () => void): void => this.#turns.add(task);
    const { epoch } = registry.changes;
    return new Watcher({ feed, epoch, clock, isWarming, scheduleTurn, resumeAfter, wasWarming });
  }

  #findResumePoint(lastEvent: EventPosition | undefined, history: WatchHistory): number | undefined {
    const { epoch } = this.#options.registry.changes;
    if (lastEvent?.epoch !== epoch || lastEvent.number === 0) return undefined;
    return history.hasAllAfter(lastEvent.number) ? lastEvent.number : undefined;
  }

  #createFeed(filter: ReplicaFilter, history: WatchHistory): WatchFeed {
    const { registry, clock } = this.#options;
    const { epoch } = registry.changes;
    return new WatchFeed(filter, {
      history,
      clock,
      memory: this.#snapshotMemory,
      serialize: (registration) => this.#serialize(registration),
      waitForTurn: () => this.#turns.wait(),
      readList: () => ({ pages: registry.pages(), revision: registry.changes.revision, epoch }),
    });
  }

  #serialize(registration: Registration<SerializedReplica>): string {
    const { registry, clock } = this.#options;
    const now = { nowMs: clock.nowMs(), epochMs: clock.epochMs() };
    return serializeReplicaRow(registry.describe(registration), now);
  }

  #onWarm(): void {
    this.#warmRevision = this.#options.registry.changes.revision;
    this.#sendSoon();
  }
}

/** Returns a text that is the same for all filters with the same pairs, the same text of the selector and the same protocol. */
function createKey({ query, selector, protocol }: ReplicaFilter): string {
  return JSON.stringify([selector.text, protocol, ...listPairs(query).sort(([a], [b]) => (a < b ? -1 : 1))]);
}
