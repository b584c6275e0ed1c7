import type { RegistryEvent, ServerEvent } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';
import { isPlainObject, type PlainJson, parsePlainJson } from '../json/plain-json.js';
import { detachString } from '../json/string-memory.js';

/** Maximum length of a reason, in UTF-16 units. That of a refusal can quote a header. */
const MAX_REASON_UNITS = 256;

/** Kind of an event in the history of an API server. Failures of the store are in the log and in `/readyz`. */
export type HistoryEventKind = Exclude<RegistryEvent['kind'], `store_${string}`>;

type Fields = Readonly<Record<string, string | number | null | undefined>>;

type FieldsByKind = {
  readonly [K in HistoryEventKind]: (event: Extract<RegistryEvent, { readonly kind: K }>) => Fields;
};

/**
 * The members of each kind of event, in addition to its number, its time and its kind. None can hold a token or a
 * capability.
 */
const FIELDS: FieldsByKind = {
  registered: ({ replicaId, endpoint }) => ({ replica_id: replicaId, endpoint }),
  state_changed: ({ replicaId, state }) => ({ replica_id: replicaId, state }),
  capabilities_changed: ({ replicaId, count }) => ({ replica_id: replicaId, count }),
  removed: ({ replicaId, reason = null, lease }) => ({
    replica_id: replicaId,
    reason,
    ...(lease && { host: lease.host, lived_ms: Math.round(lease.livedMs), silent_ms: Math.round(lease.silentMs) }),
  }),
  suspected: ({ replicaId, host, reason }) => ({ replica_id: replicaId, reason, host }),
  suspicion_ended: ({ replicaId, host, state, silentMs }) => ({
    replica_id: replicaId,
    state,
    host,
    silent_ms: Math.round(silentMs),
  }),
  renewed_late: ({ replicaId, host, lateMs }) => ({ replica_id: replicaId, host, late_ms: Math.round(lateMs) }),
  cordoned: ({ replicaId, reason }) => ({ replica_id: replicaId, reason: truncateText(reason, MAX_REASON_UNITS) }),
  uncordoned: ({ replicaId }) => ({ replica_id: replicaId }),
  id_conflict: ({ replicaId }) => ({ replica_id: replicaId }),
  registration_refused: ({ replicaId, host, code, reason }) => ({
    replica_id: replicaId,
    code,
    reason: truncateText(reason, MAX_REASON_UNITS),
    host,
  }),
  self_preservation_entered: () => ({}),
  self_preservation_left: () => ({}),
};

/** All kinds of events in the history. */
export const HISTORY_EVENT_KINDS = Object.keys(FIELDS) as readonly HistoryEventKind[];

/** Returns whether a string is a kind of event in the history. */
export function isHistoryEventKind(text: string): text is HistoryEventKind {
  return Object.hasOwn(FIELDS, text);
}

/**
 * Serializes an event for the history, with its number and its time in ms since 1970. The result shares no memory with the
 * request that caused the event. Returns undefined for an event that isn't kept.
 */
export function serializeHistoryEvent(
  event: RegistryEvent | ServerEvent,
  { seq, atMs }: { readonly seq: number; readonly atMs: number },
) {
  const { kind } = event;
  if (!isHistoryEventKind(kind)) return undefined;
  const getFields = FIELDS[kind] as (event: RegistryEvent | ServerEvent) => Fields;
  const replicaId = 'replicaId' in event ? event.replicaId : undefined;
  return {
    kind,
    replicaId: replicaId === undefined ? undefined : detachString(replicaId),
    data: JSON.stringify({ seq, at: Math.round(atMs), kind, ...getFields(event) }),
    isRefusal: kind === 'registration_refused',
  };
}

/** An event that a server sent. Newer servers can send other kinds and members. */
export interface ReceivedEvent {
  readonly seq: number;
  /** Wall-clock time at the server, in ms since 1970. */
  readonly atMs: number;
  readonly kind: string;
  readonly replicaId: string | undefined;
  /** All members, as sent. */
  readonly members: Readonly<Record<string, unknown>>;
}

/** The history of an API server. */
export interface ReceivedHistory {
  readonly epoch: string;
  readonly events: readonly ReceivedEvent[];
}

/** Parses the response to `GET /events`. Returns undefined for any other string. */
export function parseHistory(text: string): ReceivedHistory | undefined {
  const body = parsePlainJson(text);
  if (!isPlainObject(body) || typeof body['epoch'] !== 'string' || !Array.isArray(body['events'])) return undefined;
  const events = body['events'].flatMap((member) => toReceivedEvent(member) ?? []);
  return { epoch: body['epoch'], events };
}

/** Parses the data of one event. Returns undefined for any other string. */
export function parseReceivedEvent(text: string): ReceivedEvent | undefined {
  return toReceivedEvent(parsePlainJson(text));
}

function toReceivedEvent(value: PlainJson | undefined): ReceivedEvent | undefined {
  if (!isPlainObject(value)) return undefined;
  const { seq, at, kind, replica_id: replicaId } = value;
  if (typeof seq !== 'number' || typeof at !== 'number' || typeof kind !== 'string') return undefined;
  return { seq, atMs: at, kind, replicaId: typeof replicaId === 'string' ? replicaId : undefined, members: value };
}
