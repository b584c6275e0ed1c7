import type { Clock, Random } from '../../core/ports.js';
import { type EtcdApi, type EtcdStream, toEtcdError } from './etcd-api.js';
import type { Event, KeyValue, RangeResponse, WatchResponse } from './gen/etcd.js';
import { createRetryDelays } from './retry-delays.js';

/** Receives the keys under a prefix, in the order of their revisions. */
export interface MirrorListener {
  /** Called when a complete list begins. Lists can overlap. */
  startList(): ListReceiver;
  /** The changes of one or more complete revisions after the last list. */
  onChanges(events: readonly Event[]): void;
}

/** Receives a complete list. A list that fails has no end. */
export interface ListReceiver {
  /** Called for each part. They arrive one after the other, so that a long list doesn't block the event loop. */
  onPage(kvs: readonly KeyValue[]): void;
  /**
   * The parts were all keys at one revision, and the list began `ageMs` ago. `isReset`: revisions of before have no meaning, because
   * etcd was replaced or restored.
   */
  onEnd(revision: bigint, facts: { readonly ageMs: number; readonly isReset: boolean }): void;
}

/** Dependencies of a mirror. */
export interface EtcdMirrorOptions {
  readonly api: Pick<EtcdApi, 'range' | 'openWatch'>;
  /** First key, and the end (exclusive). */
  readonly keys: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array };
  readonly clock: Clock;
  readonly random: Random;
  readonly listener: MirrorListener;
}

/** Number of keys in the first response of a list, and maximum number in the others. */
const FIRST_PAGE_SIZE = 100;
const MAX_PAGE_SIZE = 1000;

/** Size of a response of a list, in bytes. A record has up to 256 KiB, and 1,000 of these would not arrive before the deadline. */
const PAGE_BYTES = 4 * 1024 * 1024;

/** Maximum time until a watch is confirmed, in ms. */
const WATCH_TIMEOUT_MS = 3000;

/**
 * Mean time between two complete lists, in ms. They repair what no rule below has foreseen. Random within 20 %, so that the
 * servers don't list at the same time.
 */
const RELIST_INTERVAL_MS = 300_000;
const RELIST_SPREAD = 0.2;

/**
 * Follows the keys under a prefix: lists them at a revision R, then watches from R + 1. A watch that ends is opened again
 * from the last revision. It lists again when etcd has compacted the revisions in between, when revisions went backwards,
 * and when another cluster answers.
 */
export class EtcdMirror {
  readonly #options: EtcdMirrorOptions;
  readonly #delays: ReturnType<typeof createRetryDelays>;
  #revision = 0n;
  /** The revision that the open watch has reached. A complete list can be ahead of it. */
  #watched = 0n;
  #clusterId: bigint | undefined;
  #stream: EtcdStream<never> | undefined;
  /** Changes of a response whose remaining parts have not arrived. */
  #fragments: Event[] = [];
  #cancelTimer = (): void => {};
  #cancelRelist = (): void => {};
  #problem: string | undefined = 'it has not answered yet';
  #isClosed = false;

  constructor(options: EtcdMirrorOptions) {
    this.#options = options;
    this.#delays = createRetryDelays(options.random);
  }

  /** The last revision that the listener has received. */
  get revision(): bigint {
    return this.#revision;
  }

  /** Why changes don't arrive at present; undefined while the watch is open. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Starts to list and watch, until `close`. */
  start(): void {
    void this.#listAndWatch();
  }

  /** Opens the watch again at the next endpoint, because changes that were committed don't arrive. */
  restart(): void {
    if (!this.#stream || this.#isClosed) return;
    this.#stream.abandon();
    this.#watch();
  }

  close(): void {
    this.#isClosed = true;
    this.#stop();
    this.#cancelRelist();
  }

  async #listAndWatch(): Promise<void> {
    this.#stop();
    try {
      await this.#list();
      if (!this.#isClosed && !this.#stream) this.#watch();
    } catch (error) {
      this.#retry(error, () => void this.#listAndWatch());
    }
  }

  /** Lists all keys at the revision of the first page. The watch can go on meanwhile: the listener ignores older revisions. */
  async #list(): Promise<void> {
    const { api, keys, clock, listener } = this.#options;
    const [startedAtMs, before] = [clock.nowMs(), this.#revision];
    const receiver = listener.startList();
    const getPage = (key: Uint8Array, revision: bigint, size: number): Promise<RangeResponse> =>
      api.range({ ...keys, key, limit: BigInt(size), revision });
    let page = await getPage(keys.key, 0n, FIRST_PAGE_SIZE);
    const { header } = page;
    if (this.#isClosed || !header) return;
    while (page.more) {
      // etcd reads the next page while this server parses the one before.
      const next = getPage(toNextKey(page.kvs.at(-1)?.key ?? keys.key), header.revision, computePageSize(page.kvs));
      receiver.onPage(page.kvs);
      page = await next;
      if (this.#isClosed) return;
    }
    receiver.onPage(page.kvs);
    const { revision, clusterId } = header;
    const isReset = this.#clusterId !== undefined && (clusterId !== this.#clusterId || revision < before);
    this.#clusterId = clusterId;
    if (isReset || revision > this.#revision) this.#revision = revision;
    receiver.onEnd(revision, { ageMs: clock.nowMs() - startedAtMs, isReset });
    // The watch waits for revisions of the other history.
    if (isReset) this.#stop();
    this.#scheduleRelist();
  }

  /** Schedules the next of the complete lists of every few minutes. */
  #scheduleRelist(): void {
    const { clock, random } = this.#options;
    const delayMs = RELIST_INTERVAL_MS * (1 + RELIST_SPREAD * (2 * random.fraction() - 1));
    this.#cancelRelist();
    const relist = async (): Promise<void> => {
      try {
        await this.#list();
        if (!this.#isClosed && !this.#stream) this.#watch();
      } catch {
        this.#scheduleRelist();
      }
    };
    this.#cancelRelist = clock.schedule(delayMs, () => void relist(), { background: true });
  }

  #watch(): void {
    this.#fragments = [];
    this.#watched = this.#revision;
    const request = { ...this.#options.keys, startRevision: this.#revision + 1n, fragment: true };
    const stream: EtcdStream<never> = this.#options.api.openWatch(request, {
      onResponse: (response) => this.#receive(response),
      onEnd: (error) => this.#retry(error, () => this.#watch()),
    });
    this.#stream = stream;
    this.#schedule(WATCH_TIMEOUT_MS, () => {
      this.#problem = `it has not confirmed a watch within ${WATCH_TIMEOUT_MS / 1000} s`;
      this.restart();
    });
  }

  #receive({ header, created, canceled, compactRevision, cancelReason, fragment, events }: WatchResponse): void {
    // A member that hasn't caught up answers with an older revision too. Listing again does no harm then.
    const isOtherHistory = header && (header.clusterId !== this.#clusterId || header.revision < this.#watched);
    if (isOtherHistory || compactRevision !== 0n) return void this.#listAndWatch();
    if (canceled) {
      this.#stop();
      this.#retry(cancelReason, () => void this.#listAndWatch());
      return;
    }
    if (created) {
      this.#cancelTimer();
      this.#problem = undefined;
      this.#delays.reset();
    }
    for (const event of events) this.#fragments.push(event);
    if (fragment || this.#fragments.length === 0) return;
    const changes = this.#fragments;
    this.#fragments = [];
    // Not the revision of the header: it can be ahead of the changes while a watch catches up.
    const last = changes.at(-1)?.kv?.modRevision ?? 0n;
    this.#watched = last;
    if (last > this.#revision) this.#revision = last;
    this.#options.listener.onChanges(changes);
  }

  #retry(error: unknown, task: () => void): void {
    if (this.#isClosed) return;
    this.#problem = typeof error === 'string' ? error : toEtcdError(error).message;
    this.#schedule(this.#delays.computeNextDelayMs(), task);
  }

  #stop(): void {
    this.#cancelTimer();
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  #schedule(delayMs: number, task: () => void): void {
    this.#cancelTimer();
    this.#cancelTimer = this.#options.clock.schedule(delayMs, task, { background: true });
  }
}

/** Returns the first key after another one. */
function toNextKey(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}

/** Returns the number of keys in the next response of a list, given those of the present one. */
function computePageSize(kvs: readonly KeyValue[]): number {
  const bytes = kvs.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
  return Math.max(1, Math.min(MAX_PAGE_SIZE, Math.floor((PAGE_BYTES * kvs.length) / Math.max(1, bytes))));
}
