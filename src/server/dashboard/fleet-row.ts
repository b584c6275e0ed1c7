import { type ListedReplica, parseListedReplica } from '../../api/replica-list-json.js';
import type { Capability } from '../../core/capability.js';
import type { Cordon } from '../../core/cordon.js';
import { listOffers, type Offer } from '../../core/offer.js';
import { getProtocol, type Protocol } from '../../core/protocol.js';
import { formatCapabilities } from '../../json/capability-json.js';

/** States in the order in which they are shown. A cordoned replica gets no calls, whatever state it reports. */
export const SHOWN_STATES = ['ready', 'suspect', 'unready', 'draining', 'cordoned'] as const;

export type ShownState = (typeof SHOWN_STATES)[number];

/** A replica as the dashboard shows it. Times are wall-clock times of the API server, in ms since 1970. */
export class FleetRow {
  readonly id: string;
  readonly endpoint: string;
  readonly protocol: Protocol;
  readonly capabilities: readonly Capability[];
  readonly state: ShownState;
  /** The state that the replica reports, whether or not it is cordoned. */
  readonly reportedState: string;
  readonly sinceMs: number | undefined;
  readonly cordon: Cordon | undefined;
  readonly weight: number;
  /** Address of the lease's holder. Undefined if another API server granted the lease. */
  readonly peer: string | undefined;
  /** Host of the replica: that of its lease, or else of its endpoint. */
  readonly host: string;
  /** Undefined for a lease that lasts as long as its connection. */
  readonly ttlMs: number | undefined;
  readonly offers: readonly Offer[];
  seenMs: number | undefined;
  load: ListedReplica['load'];
  #capabilityText: string | undefined;
  #sortKey: string | undefined;

  constructor(listed: ListedReplica, times: RowTimes) {
    const { replica, state = 'ready', cordon, weight, load } = listed;
    this.id = replica.id;
    this.endpoint = replica.endpoint;
    this.protocol = getProtocol(replica.endpoint);
    this.capabilities = replica.capabilities;
    this.reportedState = state;
    this.state = cordon?.cordoned ? 'cordoned' : toShownState(state);
    this.sinceMs = toMs(times.since);
    this.cordon = cordon;
    this.weight = weight;
    this.peer = typeof times.peer === 'string' ? times.peer : undefined;
    this.host = this.peer ?? findHost(replica.endpoint);
    this.ttlMs = toMs(times.ttl);
    this.seenMs = toMs(times.last_seen);
    this.load = load;
    this.offers = listNamedOffers(replica.capabilities);
  }

  /** The capabilities as `--cap` accepts them. */
  get capabilityText(): string {
    this.#capabilityText ??= formatCapabilities(this.capabilities);
    return this.#capabilityText;
  }

  /** The id in a form whose order is natural: `r2` before `r10`. */
  get sortKey(): string {
    this.#sortKey ??= this.id.replace(/\d+/g, (digits) => digits.padStart(12, '0'));
    return this.#sortKey;
  }
}

/** The members of a row with times in seconds, which {@link ListedReplica} only has as ages. */
interface RowTimes {
  readonly since?: unknown;
  readonly last_seen?: unknown;
  readonly peer?: unknown;
  readonly ttl?: unknown;
}

/** Parses a row of `GET /replicas` or of a `put` event. Returns undefined for any other string. */
export function parseFleetRow(text: string): FleetRow | undefined {
  const listed = parseListedReplica(text);
  return listed && new FleetRow(listed, JSON.parse(text) as RowTimes);
}

/** Returns the name of an offer: `qwen2 (chat)`, or its type if it has no model. */
export function formatOffer({ model, type }: Offer): string {
  if (model === undefined) return `type ${type}`;
  return type === undefined ? model : `${model} (${type})`;
}

/** Returns the offers of a replica that have a name. */
function listNamedOffers(capabilities: readonly Capability[]): Offer[] {
  return listOffers(capabilities).filter(({ model, type }) => model !== undefined || type !== undefined);
}

/** Returns the host of an endpoint: without its scheme, port and path. */
function findHost(endpoint: string): string {
  const authority = endpoint.replace(/^[a-z0-9+]+:\/{1,3}/i, '').replace(/[/?].*$/s, '');
  return authority.replace(/:\d+$/, '');
}

/** Newer servers can have other states, in which they route no calls. */
function toShownState(state: string): ShownState {
  return SHOWN_STATES.find((one) => one === state) ?? 'unready';
}

function toMs(seconds: unknown): number | undefined {
  return typeof seconds === 'number' ? seconds * 1000 : undefined;
}
