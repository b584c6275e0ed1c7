import { isLoopback } from '../../core/host.js';
import type { ServerId } from '../../core/ids.js';
import type { Clock, LeaseOwner } from '../../core/ports.js';
import type { HostCounts } from '../../core/self-preservation.js';
import { parseJsonObject } from '../../json/exact-json.js';
import type { JsonObject } from '../../json/json-value.js';
import { put } from './conditional-write.js';
import { type EtcdApi, type EtcdError, toEtcdError } from './etcd-api.js';
import type { KeyValue } from './gen/etcd.js';
import { KnownServers } from './known-servers.js';
import { OtherHosts, serializeHostCounts } from './other-hosts.js';
import { toCount } from './registration-record.js';

/** Dependencies of the markers. */
export interface ServerMarkersOptions {
  readonly api: Pick<EtcdApi, 'txn'>;
  readonly clock: Clock;
  /** Id of this server. */
  readonly id: ServerId;
  readonly key: Uint8Array;
  /** Returns the server's present lease. */
  readonly getLease: () => bigint | undefined;
  /** Counts the hosts of this server. */
  readonly countHosts: () => HostCounts;
  /** Called when etcd has accepted a marker. */
  readonly onWritten: () => void;
  /** Called when etcd has not accepted a marker under this lease. */
  readonly onFailure: (error: EtcdError, lease: bigint) => void;
  /** Called when a marker that etcd has committed doesn't come back through the watch. */
  readonly onWatchBehind: () => void;
}

/** Interval of the markers of up to 10 servers, in ms. With N servers, it is N / 10 of this, so a watch gets 10 markers a second. */
const MARKER_INTERVAL_MS = 1000;
const SERVERS_PER_INTERVAL = 10;

/** Maximum time from the commit of a marker until the watch has it, in ms. */
const WATCH_DELAY_MS = 3000;

/** Maximum age of the copy of the registry, in ms. It is 5 intervals of the markers if that is longer. */
const MAX_AGE_MS = 5000;
const MAX_AGE_INTERVALS = 5;

/** Maximum age of a copy that counts as fresh, in intervals of the markers. */
const FRESH_INTERVALS = 2;

/**
 * Delay of a marker that counts as an outage of etcd, in ms. A server waits this long for etcd before it confirms a registration, so after
 * that there can be leases that etcd doesn't have.
 */
const OUTAGE_MS = 1000;

/** Time after an outage in which all servers write such registrations, in ms. */
const RECOVERY_MS = 5000;

/**
 * The markers of the API servers: keys that they write again and again under their leases. Each server sees its own marker come back through
 * its own watch, and that alone proves that the copy of the registry is up to date: a watch can be open, and even answer
 * pings, while nothing arrives on it. A marker also shows which servers there are.
 */
export class ServerMarkers {
  readonly #options: ServerMarkersOptions;
  readonly #servers = new KnownServers();
  readonly #otherHosts = new OtherHosts();
  #number = 0;
  /** When each marker was sent that has not come back, by its number. */
  readonly #sentAtMs = new Map<number, number>();
  #freshAtMs = Number.NEGATIVE_INFINITY;
  /** End of the last outage of etcd, or the time of the first list. */
  #outageEndedAtMs = Number.NEGATIVE_INFINITY;
  #url: string | undefined;
  #isUrlFixed = false;
  #cancelTimer = (): void => {};
  #isClosed = false;

  constructor(options: ServerMarkersOptions) {
    this.#options = options;
  }

  /** Number of API servers whose markers exist. */
  get count(): number {
    return this.#servers.count;
  }

  /** Time up to which the copy of the registry is known to be complete, as `nowMs` of the clock. */
  get freshAtMs(): number {
    return this.#freshAtMs;
  }

  /** Time for which the copy of the registry is known to be complete, in ms since then. Infinity before the first list. */
  get stalenessMs(): number {
    return this.#options.clock.nowMs() - this.#freshAtMs;
  }

  /** Whether the copy of the registry is older than it has to be. */
  get isStale(): boolean {
    return this.stalenessMs > this.#maxAgeMs;
  }

  /** Whether changes arrive: the last markers have come back. Without them, an open watch proves nothing. */
  get isFresh(): boolean {
    return this.stalenessMs <= FRESH_INTERVALS * this.#intervalMs;
  }

  /** Whether an outage of etcd, or the first list, was so recent that other servers can still be writing their registrations. */
  get isRecovering(): boolean {
    return this.#options.clock.nowMs() - this.#outageEndedAtMs < RECOVERY_MS;
  }

  /** Returns whether an API server has this lease. */
  hasLease(lease: bigint): boolean {
    return this.#servers.hasLease(lease);
  }

  /** Returns how to ask another server for its leases. Undefined for an unknown server. */
  findServer(id: ServerId): LeaseOwner | undefined {
    return this.#servers.find(id, this.#options.clock.nowMs());
  }

  /**
   * Sets the URL in the markers. A fixed one is replaced only by another fixed one. One on loopback does not replace another that is not
   * fixed, because other machines can't use it.
   */
  setUrl(url: string, { isFixed }: { readonly isFixed: boolean }): void {
    const isFirst = this.#url === undefined;
    const isBetter = isFirst || !isLoopback(new URL(url).hostname);
    if (isFixed || (isBetter && !this.#isUrlFixed)) this.#url = url;
    this.#isUrlFixed ||= isFixed;
    // The first lease can be asked for before the next marker.
    if (isFirst && this.#number > 0) this.start();
  }

  /** Writes a marker now, and then at every interval until `close`. */
  start(): void {
    void this.#write();
  }

  /** Records a complete list of the markers, which began `ageMs` ago. Returns the leases of the servers that left. */
  recordList(markers: ReadonlyMap<string, KeyValue>, ageMs: number): bigint[] {
    this.#recordFreshness(this.#options.clock.nowMs() - ageMs);
    const gone = this.#servers.keepOnly(markers, this.#options.clock.nowMs());
    for (const [id, marker] of markers) this.#record(id, marker);
    return gone.filter((lease) => !this.hasLease(lease));
  }

  /** Records a marker that the watch has delivered. */
  recordMarker(id: string, keyValue: Pick<KeyValue, 'lease' | 'value'>): void {
    const marker = this.#record(id, keyValue);
    if (id === this.#options.id) this.#recordReturn(toCount(marker?.get('number')) ?? 0);
  }

  /** Records that a marker is gone. Returns the lease of its server. */
  recordRemoval(id: string): bigint | undefined {
    this.#otherHosts.forget(id);
    return this.#servers.remove(id, this.#options.clock.nowMs());
  }

  /** Returns the sum of the hosts of the other servers. None if their markers are too old to prove anything. */
  countOtherHosts(): HostCounts {
    return this.#otherHosts.count(this.#options.clock.nowMs() - this.#maxAgeMs);
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
  }

  get #maxAgeMs(): number {
    return Math.max(MAX_AGE_MS, MAX_AGE_INTERVALS * this.#intervalMs);
  }

  get #intervalMs(): number {
    return MARKER_INTERVAL_MS * Math.max(1, this.#servers.count / SERVERS_PER_INTERVAL);
  }

  #record(id: string, { lease, value }: Pick<KeyValue, 'lease' | 'value'>): JsonObject | undefined {
    const marker = parseJsonObject(Buffer.from(value).toString());
    const url = marker?.get('url');
    this.#servers.record(id, { lease, url: typeof url === 'string' ? url : undefined });
    if (id !== this.#options.id) this.#otherHosts.record(id, marker, this.#options.clock.nowMs());
    return marker;
  }

  #recordReturn(number: number): void {
    for (const [sent, atMs] of this.#sentAtMs) {
      if (sent > number) break;
      this.#recordFreshness(atMs);
      this.#sentAtMs.delete(sent);
    }
  }

  /** Records a time up to which the copy is complete. The watch can go on during a list, so a later time can be known. */
  #recordFreshness(atMs: number): void {
    if (this.stalenessMs > this.#intervalMs + OUTAGE_MS) this.#outageEndedAtMs = this.#options.clock.nowMs();
    this.#freshAtMs = Math.max(this.#freshAtMs, atMs);
  }

  async #write(): Promise<void> {
    const { api, key, clock, getLease, countHosts, onWritten, onFailure, onWatchBehind } = this.#options;
    const lease = getLease();
    this.#schedule(this.#intervalMs);
    if (lease === undefined) return;
    const number = ++this.#number;
    this.#sentAtMs.set(number, clock.nowMs());
    const url = this.#url === undefined ? '' : `,"url":${JSON.stringify(this.#url)}`;
    const value = Buffer.from(`{"format":"1.0","number":${number},${serializeHostCounts(countHosts())}${url}}`);
    try {
      await api.txn({ compare: [], success: [put({ key, value, lease, ignoreLease: false })], failure: [] });
    } catch (error) {
      this.#sentAtMs.delete(number);
      if (!this.#isClosed) onFailure(toEtcdError(error), lease);
      return;
    }
    onWritten();
    const check = (): void => {
      if (!this.#isClosed && this.#sentAtMs.delete(number)) onWatchBehind();
    };
    clock.schedule(WATCH_DELAY_MS, check, { background: true });
  }

  #schedule(delayMs: number): void {
    this.#cancelTimer();
    if (this.#isClosed) return;
    this.#cancelTimer = this.#options.clock.schedule(delayMs, () => void this.#write(), { background: true });
  }
}
