import type { WatchEvent } from '../../api/watch-events.js';
import type { Offer } from '../../core/offer.js';
import { type FleetRow, SHOWN_STATES, type ShownState } from './fleet-row.js';

/** An event of `GET /watch`, with a row of the dashboard in place of a listed replica. */
export type FleetChange =
  | Exclude<WatchEvent, { readonly kind: 'put' | 'removed' }>
  | { readonly kind: 'put'; readonly row: FleetRow }
  | { readonly kind: 'removed'; readonly replicaId: string; readonly reason: string };

/** An offer and the replicas that have it. */
export interface OfferTally {
  readonly offer: Offer;
  readonly rows: ReadonlySet<FleetRow>;
  /** Number of replicas that get calls for it. */
  readonly ready: number;
}

/** The numbers of a fleet. */
export interface FleetTotals {
  /** Number of replicas in each state. */
  readonly states: Readonly<Record<ShownState, number>>;
  /** Number of hosts with replicas. */
  readonly hosts: number;
  /** Sorted by model and type. */
  readonly offers: readonly OfferTally[];
}

/** An offer that no replica has any more, and the last one that had it. */
export interface LostOffer {
  readonly offer: Offer;
  readonly replicaId: string;
  readonly reason: string;
  readonly atMs: number;
}

/** Time for which a lost offer is remembered, in ms. */
const LOST_OFFER_MS = 3_600_000;

/** Maximum number of lost offers that are remembered. */
const MAX_LOST_OFFERS = 1000;

/** The replicas of an API server, kept up to date by the events of its watch stream. */
export class LiveFleet {
  readonly #now: () => number;
  readonly #rows = new Map<string, FleetRow>();
  readonly #offers = new Map<string, { readonly offer: Offer; readonly rows: Set<FleetRow> }>();
  readonly #lost = new Map<string, LostOffer>();
  /** The replicas of a snapshot that isn't complete. */
  #incoming: Map<string, FleetRow> | undefined;
  #version = 0;
  #detailVersion = 0;
  #totals: (FleetTotals & { readonly version: number }) | undefined;
  #isSynced = false;
  #isWarming = false;

  /** `now` returns the time in ms since 1970. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Changes with each change of the list of replicas. */
  get version(): number {
    return this.#version;
  }

  /** Changes with each change of a load, and of the time at which a replica was last seen. */
  get detailVersion(): number {
    return this.#detailVersion;
  }

  /** Whether the first complete list has arrived. */
  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Whether the server has just started, so that replicas can be missing. */
  get isWarming(): boolean {
    return this.#isWarming;
  }

  get rows(): ReadonlyMap<string, FleetRow> {
    return this.#rows;
  }

  /** Applies an event. A snapshot replaces the fleet once it is complete, so that the page never shows a part of it. */
  apply(change: FleetChange): void {
    if (change.kind === 'load') this.#detailVersion++;
    else this.#version++;
    switch (change.kind) {
      case 'snapshot':
        this.#incoming = new Map();
        this.#isWarming = change.isWarming;
        return;
      case 'put':
        if (this.#incoming) this.#incoming.set(change.row.id, change.row);
        else this.#put(change.row);
        return;
      case 'synced':
        this.#isSynced = true;
        this.#finishSnapshot();
        return;
      case 'removed':
        this.#remove(change.replicaId, change.reason);
        return;
      case 'load':
        for (const { replicaId, load } of change.loads) {
          const row = this.#rows.get(replicaId);
          if (row) row.load = load;
        }
        return;
      case 'warm':
        this.#isWarming = false;
        return;
      default:
        change satisfies never;
    }
  }

  /** Records when the server last heard of a replica. */
  updateSeen(id: string, seenMs: number | undefined): void {
    const row = this.#rows.get(id);
    if (!row) return;
    row.seenMs = seenMs;
    this.#detailVersion++;
  }

  /** The numbers of the fleet. They are counted once for each version. */
  get totals(): FleetTotals {
    if (this.#totals?.version !== this.#version) this.#totals = { ...this.#count(), version: this.#version };
    return this.#totals;
  }

  /** Lists the offers that were lost in the last hour while this page was open, newest first. */
  listLostOffers(): LostOffer[] {
    const oldestMs = this.#now() - LOST_OFFER_MS;
    return [...this.#lost.values()].filter(({ atMs }) => atMs >= oldestMs).reverse();
  }

  /** Forgets lost offers by their keys, because somebody has seen them. */
  forgetLostOffers(keys: readonly string[]): void {
    for (const key of keys) this.#lost.delete(key);
    this.#version++;
  }

  #count(): FleetTotals {
    const states = Object.fromEntries(SHOWN_STATES.map((state) => [state, 0])) as Record<ShownState, number>;
    const hosts = new Set<string>();
    for (const { state, host } of this.#rows.values()) {
      states[state]++;
      hosts.add(host);
    }
    const offers = [...this.#offers.values()].map(({ offer, rows }) => ({ offer, rows, ready: countReady(rows) }));
    return { states, hosts: hosts.size, offers: offers.sort((a, b) => (a.offer.key < b.offer.key ? -1 : 1)) };
  }

  #finishSnapshot(): void {
    const incoming = this.#incoming;
    if (!incoming) return;
    this.#incoming = undefined;
    for (const row of incoming.values()) this.#put(row);
    for (const id of this.#rows.keys())
      if (!incoming.has(id)) this.#remove(id, 'it left while the connection was lost');
  }

  #put(row: FleetRow): void {
    const previous = this.#rows.get(row.id);
    this.#rows.set(row.id, row);
    // The new offers are added first: what a replica still offers is never lost.
    for (const offer of row.offers) this.#addOffer(offer, row);
    if (previous) this.#removeOffers(previous, 'no longer offered');
  }

  #remove(id: string, reason: string): void {
    const row = this.#rows.get(id);
    if (!row) return;
    this.#rows.delete(id);
    this.#removeOffers(row, reason);
  }

  #addOffer(offer: Offer, row: FleetRow): void {
    const tally = this.#offers.get(offer.key);
    if (tally) tally.rows.add(row);
    else this.#offers.set(offer.key, { offer, rows: new Set([row]) });
    this.#lost.delete(offer.key);
  }

  #removeOffers(row: FleetRow, reason: string): void {
    for (const offer of row.offers) {
      const rows = this.#offers.get(offer.key)?.rows;
      rows?.delete(row);
      if (rows?.size !== 0) continue;
      this.#offers.delete(offer.key);
      this.#lost.set(offer.key, { offer, replicaId: row.id, reason, atMs: this.#now() });
      const [oldest] = this.#lost.keys();
      if (this.#lost.size > MAX_LOST_OFFERS && oldest !== undefined) this.#lost.delete(oldest);
    }
  }
}

function countReady(rows: Iterable<FleetRow>): number {
  let count = 0;
  for (const { state } of rows) if (state === 'ready') count++;
  return count;
}
