import type { Clock } from '../../core/ports.js';
import { parseJsonObject } from '../../json/exact-json.js';
import { JsonNumber } from '../../json/json-value.js';
import { put } from './conditional-write.js';
import { type EtcdApi, toEtcdError } from './etcd-api.js';

/** Dependencies of the markers. */
export interface ServerMarkersOptions {
  readonly api: Pick<EtcdApi, 'txn'>;
  readonly clock: Clock;
  /** Id of this server. */
  readonly id: string;
  readonly key: Uint8Array;
  /** Returns the server's present lease. */
  readonly getLease: () => bigint | undefined;
  /** Called when etcd doesn't know this lease. */
  readonly onLeaseLost: (lease: bigint) => void;
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
 * The markers of the API servers: keys that they write again and again under their leases. Each server sees its own marker come back through
 * its own watch, and that alone proves that the copy of the registry is up to date: a watch can be open, and even answer
 * pings, while nothing arrives on it. A marker also shows which servers there are.
 */
export class ServerMarkers {
  readonly #options: ServerMarkersOptions;
  /** The etcd lease of each server, by its id. */
  readonly #leases = new Map<string, bigint>();
  #number = 0;
  /** When each marker was sent that has not come back, by its number. */
  readonly #sentAtMs = new Map<number, number>();
  #freshAtMs = Number.NEGATIVE_INFINITY;
  #cancelTimer = (): void => {};
  #isClosed = false;

  constructor(options: ServerMarkersOptions) {
    this.#options = options;
  }

  /** Number of API servers whose markers exist. */
  get count(): number {
    return this.#leases.size;
  }

  /** Time for which the copy of the registry is known to be complete, in ms since then. Infinity before the first list. */
  get stalenessMs(): number {
    return this.#options.clock.nowMs() - this.#freshAtMs;
  }

  /** Whether the copy of the registry is older than it has to be. */
  get isStale(): boolean {
    return this.stalenessMs > Math.max(MAX_AGE_MS, MAX_AGE_INTERVALS * this.#intervalMs);
  }

  /** Whether changes arrive: the last markers have come back. Without them, an open watch proves nothing. */
  get isFresh(): boolean {
    return this.stalenessMs <= FRESH_INTERVALS * this.#intervalMs;
  }

  /** Returns whether an API server has this lease. */
  hasLease(lease: bigint): boolean {
    for (const known of this.#leases.values()) if (known === lease) return true;
    return false;
  }

  /** Writes a marker now, and then at every interval until `close`. */
  start(): void {
    void this.#write();
  }

  /** Records a complete list of the markers, which began `ageMs` ago. Returns the leases of the servers that left. */
  recordList(markers: ReadonlyMap<string, bigint>, ageMs: number): bigint[] {
    this.#freshAtMs = this.#options.clock.nowMs() - ageMs;
    const before = [...this.#leases.values()];
    this.#leases.clear();
    for (const [id, lease] of markers) this.#leases.set(id, lease);
    return before.filter((lease) => !this.hasLease(lease));
  }

  /** Records a marker that the watch has delivered. */
  recordMarker(id: string, lease: bigint, value: Uint8Array): void {
    this.#leases.set(id, lease);
    if (id !== this.#options.id) return;
    const number = parseJsonObject(Buffer.from(value).toString())?.get('number');
    this.#recordReturn(number instanceof JsonNumber ? Number(number.text) : 0);
  }

  /** Records that a marker is gone. Returns the lease of its server. */
  recordRemoval(id: string): bigint | undefined {
    const lease = this.#leases.get(id);
    this.#leases.delete(id);
    return lease;
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelTimer();
  }

  get #intervalMs(): number {
    return MARKER_INTERVAL_MS * Math.max(1, this.#leases.size / SERVERS_PER_INTERVAL);
  }

  #recordReturn(number: number): void {
    for (const [sent, atMs] of this.#sentAtMs) {
      if (sent > number) break;
      this.#freshAtMs = Math.max(this.#freshAtMs, atMs);
      this.#sentAtMs.delete(sent);
    }
  }

  async #write(): Promise<void> {
    const { api, key, clock, getLease, onLeaseLost, onWatchBehind } = this.#options;
    const lease = getLease();
    this.#schedule(this.#intervalMs);
    if (lease === undefined) return;
    const number = ++this.#number;
    this.#sentAtMs.set(number, clock.nowMs());
    const value = Buffer.from(`{"format":"1.0","number":${number}}`);
    try {
      await api.txn({ compare: [], success: [put({ key, value, lease, ignoreLease: false })], failure: [] });
    } catch (error) {
      this.#sentAtMs.delete(number);
      if (toEtcdError(error).kind === 'lease_lost') onLeaseLost(lease);
      return;
    }
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
