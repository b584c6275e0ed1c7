import type { EventPosition } from '../api/event-frames.js';
import { serializeReplicaRow } from '../api/replica-list-json.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { listPairs } from '../core/capability.js';
import type { Clock } from '../core/ports.js';
import type { RegistryAccess } from '../core/registry-access.js';
import type { Registration } from '../core/replica.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import type { ListMemory } from './list-memory.js';
import { WatchFeed } from './watch-feed.js';
import { WatchHistory, type WatchHistoryLimits } from './watch-history.js';
import { WatchLoads } from './watch-loads.js';
import { Watcher } from './watcher.js';

/** Time for which the changes are remembered after the last client has left, in ms. */
const IDLE_HISTORY_MS = 60_000;

/** The part of a registry that streams read. */
export type WatchedRegistry = Pick<
  RegistryAccess<SerializedReplica>,
  'changes' | 'pages' | 'describe' | 'find' | 'loads'
>;

/** Options of {@link WatchFeeds}. */
export interface WatchFeedsOptions {
  readonly registry: WatchedRegistry;
  readonly clock: Clock;
  readonly snapshotMemory: ListMemory;
  readonly historyLimits: WatchHistoryLimits | undefined;
  /** Whether replicas can still be reconnecting after the start of the server. */
  readonly isWarming: () => boolean;
  /** Whether the server has ever been warming. */
  readonly hasWarmed: boolean;
  /** Resolves in a later turn of the event loop, in which there is time for a part of the work. */
  readonly waitForTurn: () => Promise<void>;
  /** Calls the function in such a turn. */
  readonly scheduleTurn: (task: () => void) => void;
  /** Called after each change while the feeds have streams, or have had some a short time ago. */
  readonly onChange: () => void;
  /** Whether no further changes and loads are to be sent. */
  readonly isDraining: () => boolean;
}

/** The feeds of one registry: one for each filter that clients watch it with. They cost nothing while there are none. */
export class WatchFeeds {
  readonly #options: WatchFeedsOptions;
  readonly #feeds = new Map<string, WatchFeed>();
  readonly #watchers = new Set<Watcher>();
  readonly #loads: WatchLoads;
  /** Undefined while nobody has watched for a minute. */
  #history: WatchHistory | undefined;
  /** Number of the last change when the warming time ended; undefined before. */
  #warmRevision: number | undefined;
  #cancelForgetting = (): void => {};
  #unsubscribe = (): void => {};

  constructor(options: WatchFeedsOptions) {
    this.#options = options;
    // Clients that come later begin with a snapshot that says that the server is not warming.
    if (!options.isWarming()) this.#warmRevision = Number.NEGATIVE_INFINITY;
    const listReceivers = (): readonly Watcher[] => (options.isDraining() ? [] : [...this.#watchers]);
    this.#loads = new WatchLoads({ ...options, listReceivers });
  }

  /** Records that the warming time has ended. */
  markWarm(): void {
    this.#warmRevision = this.#options.registry.changes.revision;
  }

  /**
   * Adds a stream of the replicas that match a filter. It continues after the client's last event, if that is known. Otherwise it
   * begins with a snapshot.
   */
  add(filter: ReplicaFilter, lastEvent: EventPosition | undefined): Watcher {
    const history = this.#startHistory();
    const key = createKey(filter);
    const feed = this.#feeds.get(key) ?? this.#createFeed(filter, history);
    this.#feeds.set(key, feed);
    feed.streams++;
    const watcher = this.#createWatcher(feed, this.#findResumePoint(lastEvent, history));
    this.#watchers.add(watcher);
    this.#loads.start();
    return watcher;
  }

  /** Removes a stream that has ended. */
  remove(watcher: Watcher): void {
    const { feed } = watcher;
    watcher.close();
    this.#watchers.delete(watcher);
    if (--feed.streams === 0) this.#feeds.delete(createKey(feed.filter));
    if (this.#watchers.size === 0) this.#forgetLater();
  }

  /** Releases the bytes that several streams read. To be called when all of them have been notified. */
  releaseReads(): void {
    for (const feed of this.#feeds.values()) feed.releaseReads();
  }

  /** Returns the history, and starts it if nobody has watched for a while. */
  #startHistory(): WatchHistory {
    this.#cancelForgetting();
    if (this.#history) return this.#history;
    const { registry, historyLimits, onChange } = this.#options;
    const { epoch, revision } = registry.changes;
    const history = new WatchHistory(epoch, revision, (registration) => this.#serialize(registration), historyLimits);
    this.#history = history;
    this.#unsubscribe = registry.changes.subscribe((change) => {
      history.add(change);
      onChange();
    });
    return history;
  }

  #forgetLater(): void {
    this.#loads.stop();
    const forget = (): void => {
      this.#unsubscribe();
      this.#history = undefined;
    };
    this.#cancelForgetting = this.#options.clock.schedule(IDLE_HISTORY_MS, forget, { background: true });
  }

  #createWatcher(feed: WatchFeed, resumeAfter: number | undefined): Watcher {
    const { clock, registry, isWarming, hasWarmed, scheduleTurn } = this.#options;
    const hasSentWarm = this.#warmRevision !== undefined && (resumeAfter ?? 0) > this.#warmRevision;
    const wasWarming = resumeAfter !== undefined && hasWarmed && !hasSentWarm;
    return new Watcher({
      feed,
      epoch: registry.changes.epoch,
      clock,
      isWarming,
      scheduleTurn,
      resumeAfter,
      wasWarming,
    });
  }

  #findResumePoint(lastEvent: EventPosition | undefined, history: WatchHistory): number | undefined {
    const { epoch } = this.#options.registry.changes;
    if (lastEvent?.epoch !== epoch || lastEvent.number === 0) return undefined;
    return history.hasAllAfter(lastEvent.number) ? lastEvent.number : undefined;
  }

  #createFeed(filter: ReplicaFilter, history: WatchHistory): WatchFeed {
    const { registry, clock, snapshotMemory: memory, waitForTurn } = this.#options;
    const { changes } = registry;
    return new WatchFeed(filter, {
      history,
      clock,
      memory,
      serialize: (registration) => this.#serialize(registration),
      waitForTurn,
      readList: () => ({ pages: registry.pages(), revision: changes.revision, epoch: changes.epoch }),
    });
  }

  #serialize(registration: Registration<SerializedReplica>): string {
    const { registry, clock } = this.#options;
    const now = { nowMs: clock.nowMs(), epochMs: clock.epochMs() };
    return serializeReplicaRow(registry.describe(registration), now);
  }
}

/** Returns a text that is the same for all filters with the same pairs, the same text of the selector and the same protocol. */
function createKey({ query, selector, protocol }: ReplicaFilter): string {
  return JSON.stringify([selector.text, protocol, ...listPairs(query).sort(([a], [b]) => (a < b ? -1 : 1))]);
}
