import { asReplicaId, type ReplicaId } from '../core/ids.js';
import { type ReplicaLoad, toLoad } from '../core/load.js';
import type { RemovalCause } from '../core/registry-changes.js';
import { type EventPosition, formatEventFrame } from './event-frames.js';
import { serializeLoad } from './load-json.js';
import { type ListedReplica, parseListedReplica } from './replica-list-json.js';

/** Path of the stream of changes. */
export const WATCH_PATH = '/watch';

/** Request header with the id of the last event that the client received. */
export const LAST_EVENT_ID_HEADER = 'last-event-id';

/** Maximum size of an event, in bytes. A registration has at most 1 MiB. */
export const MAX_WATCH_EVENT_BYTES = 2 * 1024 * 1024;

/** Why a replica left the list of a watch stream. `unknown`: the store doesn't know why the lease ended. */
export type RemovalReason = RemovalCause | 'unknown';

/** An event of a watch stream, as parsed by a client. */
export type WatchEvent =
  /** The following `put` events, up to `synced`, are all replicas that match. While `isWarming`, replicas can be missing. */
  | { readonly kind: 'snapshot'; readonly isWarming: boolean }
  /** A replica that matches was registered, or changed. */
  | { readonly kind: 'put'; readonly replica: ListedReplica }
  /** The snapshot is complete, or the client has received all changes that it missed. */
  | { readonly kind: 'synced' }
  /** `reason` is a {@link RemovalReason}, or one that a newer server added. */
  | { readonly kind: 'removed'; readonly replicaId: ReplicaId; readonly reason: string }
  /** Replicas that match have reported other loads. The list stays the same. */
  | { readonly kind: 'load'; readonly loads: readonly ReportedLoad[] }
  /** The server is no longer warming. */
  | { readonly kind: 'warm' };

/** The load that a replica has reported. */
export interface ReportedLoad {
  readonly replicaId: ReplicaId;
  readonly load: ReplicaLoad;
}

/** The last event of a stream that the server ends, with the reason. */
export interface DroppedEvent {
  readonly kind: 'dropped';
  readonly reason: string;
}

/** Formats the first event of a snapshot. */
export function formatSnapshotEvent(isWarming: boolean): string {
  return formatEventFrame({ event: 'snapshot', data: JSON.stringify({ warming: isWarming }) });
}

/** Formats a `put` event. `row` is an entry of the response body of `GET /replicas`. */
export function formatPutEvent(row: string, position: EventPosition): string {
  return formatEventFrame({ event: 'put', data: row, position });
}

/** Formats the last event of a snapshot. */
export function formatSyncedEvent(position: EventPosition): string {
  return formatEventFrame({ event: 'synced', data: '{}', position });
}

/** Formats a `removed` event. */
export function formatRemovedEvent(replicaId: ReplicaId, reason: RemovalReason, position: EventPosition): string {
  return formatEventFrame({ event: 'removed', data: JSON.stringify({ replica_id: replicaId, reason }), position });
}

/** Formats the event of the end of the warming time. */
export function formatWarmEvent(position: EventPosition): string {
  return formatEventFrame({ event: 'warm', data: '{}', position });
}

/** Serializes one of the loads of a `load` event. */
export function serializeReplicaLoad(replicaId: ReplicaId, load: ReplicaLoad): string {
  return `{"replica_id":${JSON.stringify(replicaId)},${serializeLoad(load).slice(1)}`;
}

/** Formats a `load` event. It has no position: a client that misses it gets later ones. */
export function formatLoadEvent(loads: readonly string[]): string {
  return formatEventFrame({ event: 'load', data: `{"loads":[${loads.join()}]}` });
}

/** Formats the last event of a stream that the server ends. */
export function formatDroppedEvent(reason: string): string {
  return formatEventFrame({ event: 'dropped', data: JSON.stringify({ reason }) });
}

/**
 * Parses an event. Returns `unknown` for an event that newer servers add, and undefined for one of these with invalid
 * data.
 */
export function parseWatchEvent(
  name: string | undefined,
  data: string,
): WatchEvent | DroppedEvent | 'unknown' | undefined {
  switch (name) {
    case 'snapshot':
      return parseSnapshot(parseMembers(data));
    case 'put': {
      const replica = parseListedReplica(data);
      return replica && { kind: 'put', replica };
    }
    case 'synced':
    case 'warm':
      return { kind: name };
    case 'removed':
      return parseRemoved(parseMembers(data));
    case 'load':
      return parseLoads(parseMembers(data));
    case 'dropped':
      return parseDroppedEvent(data);
    default:
      return 'unknown';
  }
}

/** Parses the data of the last event of a stream that the server ends. */
export function parseDroppedEvent(data: string): DroppedEvent {
  return { kind: 'dropped', reason: String(parseMembers(data)['reason'] ?? 'no reason given') };
}

type Members = Readonly<Record<string, unknown>>;

function parseSnapshot({ warming }: Members): WatchEvent | undefined {
  return typeof warming === 'boolean' ? { kind: 'snapshot', isWarming: warming } : undefined;
}

function parseRemoved({ replica_id: id, reason }: Members): WatchEvent | undefined {
  if (typeof id !== 'string') return undefined;
  return { kind: 'removed', replicaId: asReplicaId(id), reason: typeof reason === 'string' ? reason : 'unknown' };
}

/** Leaves out loads that aren't valid. */
function parseLoads({ loads }: Members): WatchEvent | undefined {
  if (!Array.isArray(loads)) return undefined;
  const valid = loads.flatMap((entry: Members | null): ReportedLoad[] => {
    const [id, load] = [entry?.['replica_id'], toLoad(entry)];
    return typeof id === 'string' && load ? [{ replicaId: asReplicaId(id), load }] : [];
  });
  return { kind: 'load', loads: valid };
}

/** Returns the members of a JSON object; none if the string is anything else. */
function parseMembers(data: string): Members {
  try {
    return (JSON.parse(data) ?? {}) as Members;
  } catch {
    return {};
  }
}
