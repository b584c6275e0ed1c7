import type { SerializedReplica } from '../api/serialized-replica.js';
import { formatLoadEvent, serializeReplicaLoad } from '../api/watch-events.js';
import { isSameLoad, type ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';
import type { RegistryAccess } from '../core/registry-access.js';
import { isWatched, type ReplicaFilter } from '../core/replica-filter.js';
import type { LoadListener } from '../core/replica-loads.js';

/** Minimum time between two reports of loads to a stream, in ms. */
const LOAD_INTERVAL_MS = 5000;

/**
 * Minimum time after which an unchanged load is sent again, in ms. Clients forget a load that is not repeated, so that they don't
 * believe one that is no longer reported, or whose change they have missed.
 */
const REPEAT_AFTER_MS = 30_000;

/** Size from which the loads of a report are split into several events, in bytes. Clients accept events of 2 MiB. */
const MAX_EVENT_BYTES = 1024 * 1024;

/** Maximum time of a turn of the event loop for a report, in ms. */
const SLICE_MS = 2;

/** A stream that receives loads. */
export interface LoadReceiver {
  /** The same object for all streams with the same filter. */
  readonly filter: ReplicaFilter;
  /** Sends `load` events, if the client can receive them now. */
  sendLoads(events: readonly Buffer[]): void;
}

/** Options of {@link WatchLoads}. */
export interface WatchLoadsOptions {
  readonly registry: Pick<RegistryAccess<SerializedReplica>, 'find' | 'loads'>;
  readonly clock: Clock;
  /** Resolves in a later turn of the event loop, in which there is time for a part of the work. */
  readonly waitForTurn: () => Promise<void>;
  /** Returns the open streams. */
  readonly listReceivers: () => readonly LoadReceiver[];
}

/** The load of a replica, serialized. */
interface SerializedLoad {
  readonly replica: SerializedReplica;
  readonly text: string;
}

type LoadedLease = Parameters<LoadListener>[0];

/**
 * Sends the loads that replicas report to the streams of their matches: those that have changed, at most every 5 s, and the
 * others every 30 s. A load is soon outdated, so a stream that can't receive it now gets the next one instead.
 */
export class WatchLoads {
  readonly #options: WatchLoadsOptions;
  /** The leases whose load has changed since the last report, or has to be repeated. */
  readonly #pending = new Set<LoadedLease>();
  /** The loads that were last sent, and when. */
  readonly #sent = new WeakMap<LoadedLease, { readonly load: ReplicaLoad | undefined; readonly atMs: number }>();
  #unsubscribe: (() => void) | undefined;
  #isScheduled = false;
  #lastReportAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: WatchLoadsOptions) {
    this.#options = options;
  }

  /** Begins to collect loads. Without loads, this costs nothing. */
  start(): void {
    this.#unsubscribe ??= this.#options.registry.loads.subscribe((lease) => {
      if (this.#isKnown(lease)) return;
      this.#pending.add(lease);
      this.#reportLater();
    });
  }

  stop(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
    this.#pending.clear();
  }

  /** Whether the streams have received the load of a lease a short time ago. */
  #isKnown(lease: LoadedLease): boolean {
    const sent = this.#sent.get(lease);
    if (!sent || this.#options.clock.nowMs() - sent.atMs >= REPEAT_AFTER_MS) return false;
    return isSameLoad(sent.load, lease.load);
  }

  #reportLater(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const { clock } = this.#options;
    const delayMs = Math.max(0, this.#lastReportAtMs + LOAD_INTERVAL_MS - clock.nowMs());
    clock.schedule(delayMs, () => void this.#report(), { background: true });
  }

  async #report(): Promise<void> {
    const loads = await this.#serializePending();
    for (const [filter, receivers] of groupByFilter(this.#options.listReceivers())) {
      const events = await this.#format(filter, loads);
      if (events.length > 0) await this.#forEach(receivers, (receiver) => receiver.sendLoads(events));
    }
    this.#lastReportAtMs = this.#options.clock.nowMs();
    this.#isScheduled = false;
    if (this.#pending.size > 0) this.#reportLater();
  }

  /** Returns the pending loads of the leases that still hold their registration. */
  async #serializePending(): Promise<SerializedLoad[]> {
    const loads: SerializedLoad[] = [];
    const pending = [...this.#pending];
    this.#pending.clear();
    await this.#forEach(pending, (lease) => {
      const { id, replicaId, load } = lease;
      const registration = this.#options.registry.find(replicaId)?.registration;
      if (registration?.lease !== id || !load) return;
      this.#sent.set(lease, { load, atMs: this.#options.clock.nowMs() });
      loads.push({ replica: registration.replica, text: serializeReplicaLoad(replicaId, load) });
    });
    return loads;
  }

  /** Formats the loads of the replicas that match a filter. */
  async #format(filter: ReplicaFilter, loads: readonly SerializedLoad[]): Promise<Buffer[]> {
    const events: Buffer[] = [];
    let matching: string[] = [];
    let bytes = 0;
    await this.#forEach(loads, ({ replica, text }) => {
      if (!isWatched(filter, replica)) return;
      matching.push(text);
      bytes += Buffer.byteLength(text) + 1;
      if (bytes < MAX_EVENT_BYTES) return;
      events.push(Buffer.from(formatLoadEvent(matching)));
      matching = [];
      bytes = 0;
    });
    if (matching.length > 0) events.push(Buffer.from(formatLoadEvent(matching)));
    return events;
  }

  /** Runs a task for each item, in as many turns of the event loop as that takes. */
  async #forEach<T>(items: readonly T[], task: (item: T) => void): Promise<void> {
    const { clock, waitForTurn } = this.#options;
    await waitForTurn();
    let sliceEndsAtMs = clock.nowMs() + SLICE_MS;
    for (const item of items) {
      if (clock.nowMs() >= sliceEndsAtMs) {
        await waitForTurn();
        sliceEndsAtMs = clock.nowMs() + SLICE_MS;
      }
      task(item);
    }
  }
}

function groupByFilter(receivers: readonly LoadReceiver[]): Map<ReplicaFilter, LoadReceiver[]> {
  const groups = new Map<ReplicaFilter, LoadReceiver[]>();
  for (const receiver of receivers) {
    const group = groups.get(receiver.filter);
    if (group) group.push(receiver);
    else groups.set(receiver.filter, [receiver]);
  }
  return groups;
}
