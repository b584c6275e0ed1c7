import type { KnownReplica } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject, objectFromText } from './json.js';
import { replicaFromJson } from './replica-json.js';
import { replicaText } from './written-replica.js';

/** The parameter of `GET /replicas` that asks for one replica. */
export const REPLICA_ID_PARAMETER = 'replica_id';

/** How much of a lease's name is shown: enough to tell two apart, too little to end one. */
const SHOWN_LEASE = 8;

/** The times that the body of `GET /replicas` is made with: the same moment on both of the clock's scales. */
export interface Moment {
  readonly nowMs: number;
  readonly epochMs: number;
}

/** So many replicas make a part of the list. */
const PART_SIZE = 32;

/**
 * The body of `GET /replicas` in parts: what `GET /registry` has, and all that is known besides. Times are in seconds since
 * 1970, and so is `now`, for readers whose clock goes otherwise.
 */
export function* knownParts(known: Iterable<KnownReplica>, moment: Moment): Generator<Buffer> {
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

function knownReplicaText({ registration, lease }: KnownReplica, { nowMs, epochMs }: Moment): string {
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
  return `${replicaText(replica).slice(0, -1)},${JSON.stringify(about).slice(1)}`;
}

/** An entry of the list, as whoever asked for it sees it. */
export interface ListedReplica {
  readonly replica: Replica;
  /** What a server that knows no states does not tell. */
  readonly state: string | undefined;
  /** How long it has been in this state, in milliseconds. */
  readonly forMs: number | undefined;
  /** How long ago it was last heard of, in milliseconds. */
  readonly seenBeforeMs: number | undefined;
  /** The entry as it was told. */
  readonly entry: Json;
}

/** Reads the body of `GET /replicas`, or of `GET /registry`, which has less. Undefined for what is neither. */
export function listedReplicasFromText(body: string): ListedReplica[] | undefined {
  const answer = objectFromText(body);
  const entries = answer?.get('replicas');
  if (!answer || !Array.isArray(entries)) return undefined;
  const nowS = secondsIn(answer, 'now');
  const listed = entries.map((entry: Json) => listedReplica(entry, nowS));
  return listed.every((one) => one !== undefined) ? listed : undefined;
}

function listedReplica(entry: Json, nowS: number | undefined): ListedReplica | undefined {
  const replica = replicaFromJson(entry);
  if (!replica || !isJsonObject(entry)) return undefined;
  const state = entry.get('state');
  const before = (name: string): number | undefined => {
    const atS = secondsIn(entry, name);
    return atS === undefined || nowS === undefined ? undefined : Math.max(0, (nowS - atS) * 1000);
  };
  return {
    replica,
    state: typeof state === 'string' ? state : undefined,
    forMs: before('since'),
    seenBeforeMs: before('last_seen'),
    entry,
  };
}

function secondsIn(object: JsonObject, name: string): number | undefined {
  const value = object.get(name);
  return value instanceof JsonNumber ? Number(value.text) : undefined;
}
