import { detachStrings } from '../json/string-memory.js';
import { HISTORY_EVENT_KINDS, type HistoryEventKind, isHistoryEventKind } from './event-json.js';

/** Path of the history. */
export const EVENTS_PATH = '/events';

/** Filters for events: by replica and by kind. An empty filter passes all. */
export interface EventFilters {
  readonly replicaIds: Iterable<string>;
  readonly kinds: Iterable<string>;
}

/** The parameters of `GET /events`. */
export interface EventQuery {
  /** Only events of these replicas. Empty: all events. */
  readonly replicaIds: ReadonlySet<string>;
  /** Only events of these kinds. Empty: all kinds. */
  readonly kinds: ReadonlySet<HistoryEventKind>;
  /** Only events with a higher number. */
  readonly since: number;
  /** Maximum number of events of the history: the newest. */
  readonly limit: number;
  /** Whether new events follow as a stream. */
  readonly isFollowed: boolean;
}

/** Parses the query string of `GET /events`. Returns the reason why an invalid one is invalid. */
export function parseEventQuery(search: string): EventQuery | string {
  const parameters = new URLSearchParams(search);
  const kinds = parameters.getAll('kind');
  const unknown = kinds.find((kind) => !isHistoryEventKind(kind));
  if (unknown !== undefined) {
    return `kind ${JSON.stringify(unknown.slice(0, 64))} does not exist; the kinds are ${HISTORY_EVENT_KINDS.join(', ')}`;
  }
  const [since, limit] = [parseCount(parameters.get('since')), parseCount(parameters.get('limit'))];
  if (since === 'invalid') return 'since must be the number of an event';
  if (limit === 'invalid') return 'limit must be a number of events';
  return {
    // A substring would keep the whole URL in memory.
    replicaIds: new Set(detachStrings(parameters.getAll('replica_id'))),
    kinds: new Set(kinds.filter(isHistoryEventKind)),
    since: since ?? 0,
    limit: limit ?? Number.POSITIVE_INFINITY,
    isFollowed: !['0', 'false', null].includes(parameters.get('follow')),
  };
}

/** Serializes the filters of an event query as a query string. */
export function serializeEventFilters(filters: EventFilters): string {
  const parameters = new URLSearchParams();
  for (const id of filters.replicaIds) parameters.append('replica_id', id);
  for (const kind of filters.kinds) parameters.append('kind', kind);
  return parameters.toString();
}

/** Returns whether an event passes the filters of a query, other than its limit. */
export function matchesEventQuery(
  { replicaIds, kinds, since }: EventQuery,
  { seq, kind, replicaId }: { readonly seq: number; readonly kind: string; readonly replicaId: string | undefined },
): boolean {
  if (seq <= since) return false;
  if (kinds.size > 0 && !(isHistoryEventKind(kind) && kinds.has(kind))) return false;
  return replicaIds.size === 0 || (replicaId !== undefined && replicaIds.has(replicaId));
}

function parseCount(text: string | null): number | undefined | 'invalid' {
  if (text === null) return undefined;
  return /^\d{1,15}$/.test(text) ? Number(text) : 'invalid';
}
