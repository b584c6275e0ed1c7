import type { Cordon } from '../core/cordon.js';
import type { ExplainedReplica } from '../core/explanation.js';
import { type ReplicaLoad, toLoad } from '../core/load.js';
import { getProtocol } from '../core/protocol.js';
import type { KnownReplica } from '../core/registry.js';
import { MAX_WEIGHT, type Replica } from '../core/replica.js';
import { parseJsonObject } from '../json/exact-json.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject, serializeJson } from '../json/json-value.js';
import { isPlainObject, type PlainJson, type PlainObject, parsePlainJson } from '../json/plain-json.js';
import { toCordon } from './cordon-json.js';
import { serializeLoad } from './load-json.js';
import { parsePlainReplica, parseReplica } from './replica-json.js';
import type { SerializedReplica } from './serialized-replica.js';

/** Query parameter of `GET /replicas` that selects a replica by its id. It can be repeated. */
export const REPLICA_ID_PARAMETER = 'replica_id';

/** Number of characters of a lease id that are shown: enough to tell leases apart, too few to revoke one. */
const SHOWN_LEASE_CHARACTERS = 8;

/** One instant, as read from the monotonic clock and from the wall clock. */
export interface ClockReading {
  /** Monotonic time, in ms. */
  readonly nowMs: number;
  /** Time since 1970, in ms. */
  readonly epochMs: number;
}

/** Number of replicas that are serialized at a time. */
const REPLICAS_PER_CHUNK = 32;

/**
 * Serializes the response body of `GET /replicas` in chunks: the entries of `GET /registry`, with the state and lease
 * of each. Times are in seconds since 1970. So is `now`, from which readers with another clock compute ages.
 */
export function* serializeReplicaDetails(
  replicas: Iterable<KnownReplica<SerializedReplica>>,
  clock: ClockReading,
): Generator<Buffer> {
  yield Buffer.from(`{"now":${clock.epochMs / 1000},"replicas":[`);
  let entries: string[] = [];
  for (const replica of replicas) {
    entries.push(serializeReplicaRow(replica, clock));
    if (entries.length < REPLICAS_PER_CHUNK) continue;
    yield Buffer.from(entries.join(','));
    // The empty first entry makes the next chunk begin with a comma.
    entries = [''];
  }
  yield Buffer.from(`${entries.join(',')}]}`);
}

/** Serializes one entry of such a list. */
export function serializeReplicaRow(
  { registration, lease }: KnownReplica<SerializedReplica>,
  { nowMs, epochMs }: ClockReading,
): string {
  const { replica, state, sinceEpochMs, instance, cordon, weight } = registration;
  const details = {
    state,
    since: sinceEpochMs / 1000,
    lease: registration.lease.slice(0, SHOWN_LEASE_CHARACTERS),
    peer: lease?.host ?? null,
    ttl: lease?.ttlMs === undefined ? null : lease.ttlMs / 1000,
    // A lease can be renewed while the list is serialized. `last_seen` is never later than `now`.
    last_seen: lease ? Math.round(epochMs - Math.max(0, nowMs - lease.seenAtMs)) / 1000 : null,
    ...(instance && { instance: { id: instance.id, seq: instance.seq } }),
    ...(cordon && { cordon: { cordoned: cordon.cordoned, reason: cordon.reason, at: cordon.atMs } }),
    ...(weight !== 1 && { weight }),
  };
  const load = lease?.load ? `,"load":${serializeLoad(lease.load)}` : '';
  return `${replica.listEntry.slice(0, -1)},${JSON.stringify(details).slice(1, -1)}${load}}`;
}

/** An entry of the replica list, as parsed by a client of the API server. */
export interface ListedReplica {
  readonly replica: Replica;
  /** Undefined if the server does not report states. */
  readonly state: string | undefined;
  /** Time since the replica entered its state, in ms. */
  readonly stateAgeMs: number | undefined;
  /** Time since the server last heard of the replica, in ms. */
  readonly lastSeenAgeMs: number | undefined;
  /** The process that registered it. Undefined if the server or the process doesn't report it. */
  readonly instance: { readonly id: string; readonly seq: number } | undefined;
  /** The last decision of an operator about the id. Undefined if there was none, or the server doesn't report it. */
  readonly cordon: Cordon | undefined;
  /** Share of the calls. 1 if the server doesn't report it. */
  readonly weight: number;
  /** The load that the replica last reported to the server. Undefined if it has reported none. */
  readonly load: ReplicaLoad | undefined;
  /** Returns the entry as compact JSON, with numbers as the server wrote them. */
  toText(): string;
}

/** Formats the state of a replica: `ready`, or `ready,cordoned`. */
export function formatState({ state = '-', cordon }: Pick<ListedReplica, 'state' | 'cordon'>): string {
  return cordon?.cordoned ? `${state},cordoned` : state;
}

/** Returns the properties of a listed replica that an explanation uses. */
export function toExplainedReplica({ replica, state, stateAgeMs, cordon }: ListedReplica): ExplainedReplica {
  const { id, capabilities, endpoint } = replica;
  return { id, capabilities, protocol: getProtocol(endpoint), state, stateAgeMs, cordon };
}

/**
 * Parses the response body of `GET /replicas`, or of `GET /registry`, which has fewer fields. Returns undefined for any
 * other.
 */
export function parseReplicaList(body: string): ListedReplica[] | undefined {
  const plain = parsePlainJson(body);
  if (plain !== undefined) return isPlainObject(plain) ? parseList(plain, PLAIN_READER) : undefined;
  const exact = parseJsonObject(body);
  return exact && parseList(exact, EXACT_READER);
}

/** Parses one entry of such a list. It has no ages, which need the time of the list. Returns undefined for any other string. */
export function parseListedReplica(text: string): ListedReplica | undefined {
  const plain = parsePlainJson(text);
  if (plain !== undefined) return parseEntry(plain, undefined, PLAIN_READER);
  const exact = parseJsonObject(text);
  return exact && parseEntry(exact, undefined, EXACT_READER);
}

/** Access to a parsed list, either from `JSON.parse` or from the exact reader. */
interface ListReader<Value, Parsed extends Value> {
  isObject(value: Value): value is Parsed;
  getField(object: Parsed, name: string): Value | undefined;
  parseReplica(entry: Value): Replica | undefined;
  toNumber(value: Value | undefined): number | undefined;
  toText(value: Value): string;
}

const PLAIN_READER: ListReader<PlainJson, PlainObject> = {
  isObject: isPlainObject,
  getField: (object, name) => object[name],
  parseReplica: parsePlainReplica,
  toNumber: (value) => (typeof value === 'number' ? value : undefined),
  toText: JSON.stringify,
};

const EXACT_READER: ListReader<Json, JsonObject> = {
  isObject: isJsonObject,
  getField: (object, name) => object.get(name),
  parseReplica,
  toNumber: (value) => (value instanceof JsonNumber ? Number(value.text) : undefined),
  toText: serializeJson,
};

function parseList<Value, Parsed extends Value>(
  list: Parsed,
  reader: ListReader<Value, Parsed>,
): ListedReplica[] | undefined {
  const entries = reader.getField(list, 'replicas');
  if (!Array.isArray(entries)) return undefined;
  const nowS = reader.toNumber(reader.getField(list, 'now'));
  const replicas = entries.map((entry: Value) => parseEntry(entry, nowS, reader));
  return replicas.every((replica) => replica !== undefined) ? replicas : undefined;
}

function parseEntry<Value, Parsed extends Value>(
  entry: Value,
  nowS: number | undefined,
  reader: ListReader<Value, Parsed>,
): ListedReplica | undefined {
  const replica = reader.parseReplica(entry);
  if (!replica || !reader.isObject(entry)) return undefined;
  const state = reader.getField(entry, 'state');
  const computeAgeMs = (field: string): number | undefined => {
    const atS = reader.toNumber(reader.getField(entry, field));
    return atS === undefined || nowS === undefined ? undefined : Math.max(0, (nowS - atS) * 1000);
  };
  return {
    replica,
    state: typeof state === 'string' ? state : undefined,
    stateAgeMs: computeAgeMs('since'),
    lastSeenAgeMs: computeAgeMs('last_seen'),
    instance: parseListedInstance(reader.getField(entry, 'instance'), reader),
    cordon: parseListedCordon(reader.getField(entry, 'cordon'), reader),
    weight: toWeight(reader.toNumber(reader.getField(entry, 'weight'))),
    load: parseListedLoad(reader.getField(entry, 'load'), reader),
    toText: () => reader.toText(entry),
  };
}

/** Returns 1 for an invalid weight, so that no server can make a client divide by zero. */
function toWeight(weight: number | undefined): number {
  return weight !== undefined && Number.isInteger(weight) && weight >= 1 && weight <= MAX_WEIGHT ? weight : 1;
}

function parseListedInstance<Value, Parsed extends Value>(
  value: Value | undefined,
  reader: ListReader<Value, Parsed>,
): ListedReplica['instance'] {
  if (value === undefined || !reader.isObject(value)) return undefined;
  const id = reader.getField(value, 'id');
  const seq = reader.toNumber(reader.getField(value, 'seq'));
  return typeof id === 'string' && seq !== undefined ? { id, seq } : undefined;
}

function parseListedCordon<Value, Parsed extends Value>(
  value: Value | undefined,
  reader: ListReader<Value, Parsed>,
): Cordon | undefined {
  if (value === undefined || !reader.isObject(value)) return undefined;
  const getField = (name: string): Value | undefined => reader.getField(value, name);
  return toCordon({ cordoned: getField('cordoned'), reason: getField('reason'), at: reader.toNumber(getField('at')) });
}

function parseListedLoad<Value, Parsed extends Value>(
  value: Value | undefined,
  reader: ListReader<Value, Parsed>,
): ReplicaLoad | undefined {
  if (value === undefined || !reader.isObject(value)) return undefined;
  const getNumber = (name: keyof ReplicaLoad): number | undefined => reader.toNumber(reader.getField(value, name));
  return toLoad({ running: getNumber('running'), waiting: getNumber('waiting'), limit: getNumber('limit') });
}
