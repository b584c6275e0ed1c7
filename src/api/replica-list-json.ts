import type { KnownReplica } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import {
  isJsonObject,
  type Json,
  JsonNumber,
  type JsonObject,
  parseJsonObject,
  serializeJson,
} from '../json/exact-json.js';
import { isPlainObject, type PlainJson, type PlainObject, parsePlainJson } from '../json/plain-json.js';
import { parsePlainReplica, parseReplica } from './replica-json.js';
import { serializeReplica } from './serialized-replica.js';

/** The parameter of `GET /replicas` that asks for one replica. */
export const REPLICA_ID_PARAMETER = 'replica_id';

/** How much of a lease's name is shown: enough to tell two apart, too little to end one. */
const SHOWN_LEASE = 8;

/** The times that the body of `GET /replicas` is made with: the same moment on both of the clock's scales. */
export interface ClockReading {
  readonly nowMs: number;
  readonly epochMs: number;
}

/** So many replicas make a part of the list. */
const PART_SIZE = 32;

/**
 * The body of `GET /replicas` in parts: what `GET /registry` has, and all that is known besides. Times are in seconds since
 * 1970, and so is `now`, for readers whose clock goes otherwise.
 */
export function* serializeReplicaDetails(known: Iterable<KnownReplica>, moment: ClockReading): Generator<Buffer> {
  yield Buffer.from(`{"now":${moment.epochMs / 1000},"replicas":[`);
  let texts: string[] = [];
  for (const one of known) {
    texts.push(knownReplicaText(one, moment));
    if (texts.length < PART_SIZE) continue;
    yield Buffer.from(texts.join(','));
    // The empty one has the next part begin with a comma.
    texts = [''];
  }
  yield Buffer.from(`${texts.join(',')}]}`);
}

function knownReplicaText({ registration, lease }: KnownReplica, { nowMs, epochMs }: ClockReading): string {
  const { replica, state, sinceEpochMs } = registration;
  const about = {
    state,
    since: sinceEpochMs / 1000,
    lease: registration.lease.slice(0, SHOWN_LEASE),
    peer: lease?.host ?? null,
    ttl: lease?.ttlMs === undefined ? null : lease.ttlMs / 1000,
    // A lease may be renewed while the list is written, but not after the list's own time.
    last_seen: lease ? Math.round(epochMs - Math.max(0, nowMs - lease.seenAtMs)) / 1000 : null,
  };
  return `${serializeReplica(replica).slice(0, -1)},${JSON.stringify(about).slice(1)}`;
}

/** An entry of the list, as the caller of the API server sees it. */
export interface ListedReplica {
  readonly replica: Replica;
  /** Undefined for a server that knows no states. */
  readonly state: string | undefined;
  /** How long it has been in this state, in milliseconds. */
  readonly stateAgeMs: number | undefined;
  /** How long ago the server last heard of it, in milliseconds. */
  readonly lastSeenAgeMs: number | undefined;
  /** Returns the entry as compact JSON, with its numbers as the server wrote them. */
  toText(): string;
}

/** Reads the body of `GET /replicas`, or of `GET /registry`, which has less. Undefined if it is neither. */
export function parseReplicaList(body: string): ListedReplica[] | undefined {
  const plain = parsePlainJson(body);
  if (plain !== undefined) return isPlainObject(plain) ? listedFrom(plain, PLAIN) : undefined;
  const exact = parseJsonObject(body);
  return exact && listedFrom(exact, EXACT);
}

/** How to read a parsed list: as `JSON.parse` returned it, or as the exact reader did. */
interface ListReader<Value, Parsed extends Value> {
  isObject(value: Value): value is Parsed;
  field(object: Parsed, name: string): Value | undefined;
  replica(entry: Value): Replica | undefined;
  number(value: Value | undefined): number | undefined;
  text(value: Value): string;
}

const PLAIN: ListReader<PlainJson, PlainObject> = {
  isObject: isPlainObject,
  field: (object, name) => object[name],
  replica: parsePlainReplica,
  number: (value) => (typeof value === 'number' ? value : undefined),
  text: JSON.stringify,
};

const EXACT: ListReader<Json, JsonObject> = {
  isObject: isJsonObject,
  field: (object, name) => object.get(name),
  replica: parseReplica,
  number: (value) => (value instanceof JsonNumber ? Number(value.text) : undefined),
  text: serializeJson,
};

function listedFrom<Value, Parsed extends Value>(
  list: Parsed,
  reader: ListReader<Value, Parsed>,
): ListedReplica[] | undefined {
  const entries = reader.field(list, 'replicas');
  if (!Array.isArray(entries)) return undefined;
  const nowS = reader.number(reader.field(list, 'now'));
  const listed = entries.map((entry: Value) => listedReplica(entry, nowS, reader));
  return listed.every((one) => one !== undefined) ? listed : undefined;
}

function listedReplica<Value, Parsed extends Value>(
  entry: Value,
  nowS: number | undefined,
  reader: ListReader<Value, Parsed>,
): ListedReplica | undefined {
  const replica = reader.replica(entry);
  if (!replica || !reader.isObject(entry)) return undefined;
  const state = reader.field(entry, 'state');
  const before = (name: string): number | undefined => {
    const atS = reader.number(reader.field(entry, name));
    return atS === undefined || nowS === undefined ? undefined : Math.max(0, (nowS - atS) * 1000);
  };
  return {
    replica,
    state: typeof state === 'string' ? state : undefined,
    stateAgeMs: before('since'),
    lastSeenAgeMs: before('last_seen'),
    toText: () => reader.text(entry),
  };
}
