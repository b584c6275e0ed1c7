import { asEndpoint, asReplicaId, type Endpoint, type ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import type { ReplicaPage } from '../core/replica-pages.js';
import { formatScalar } from '../json/capability-json.js';
import { isJsonObject, parseJsonObject } from '../json/exact-json.js';
import { isPlainObject, parsePlainJson } from '../json/plain-json.js';
import { parsePlainReplica, parseReplica } from './replica-json.js';
import { type SerializedPage, serializePage } from './serialized-page.js';

/** What `GET /route` answers. */
export interface RouteResponse {
  readonly replicaId: ReplicaId;
  readonly endpoint: Endpoint;
}

/** The detail of the 404 answer when nothing matches. */
export const NO_MATCH_DETAIL = 'no matching replica';

/** The header of such an answer while replicas may still be on their way back to a server that has just started. */
export const WARMING_HEADER = 'x-anyserve-warming';

/** The header of a 401 or 403 of an API server, which tells it from those of other programs. */
export const REFUSAL_HEADER = 'x-anyserve-refusal';

/** The body of an answer that is an error: what went wrong, in a few words. */
export function serializeErrorDetail(detail: string): string {
  return JSON.stringify({ detail });
}

/** What was last written of each page, by its place: a list is then hardly more than sent. */
const written = new WeakMap<ReplicaPage['place'], SerializedPage>();

function pageBytes({ registrations, place }: ReplicaPage): Buffer {
  const before = written.get(place);
  if (before?.registrations === registrations) return before.bytes;
  const page = serializePage(registrations, before);
  written.set(place, page);
  return page.bytes;
}

const LIST_BEGIN = Buffer.from('{"replicas":[');
const LIST_END = Buffer.from(']}');

/** The body of `GET /registry` in parts, a page each. */
export function* serializeRegistryResponse(pages: readonly ReplicaPage[]): Generator<Buffer> {
  yield LIST_BEGIN;
  let isFirst = true;
  for (const page of pages) {
    const bytes = pageBytes(page);
    if (bytes.length === 0) continue;
    yield isFirst ? bytes.subarray(1) : bytes;
    isFirst = false;
  }
  yield LIST_END;
}

/** The detail of an error answer; undefined when the body is not one of ours. */
export function parseErrorDetail(body: string): string | undefined {
  const detail = parseJsonObject(body)?.get('detail');
  return typeof detail === 'string' ? detail : undefined;
}

/** What a 422 answer finds wrong, in one line; undefined when the body is not one. */
export function formatValidationIssues(body: string): string | undefined {
  const faults = parseJsonObject(body)?.get('detail');
  if (!Array.isArray(faults)) return undefined;
  const lines = faults.filter(isJsonObject).map((fault) => {
    const loc = fault.get('loc');
    const place = Array.isArray(loc) ? loc.slice(1).map(formatScalar) : [];
    return `${place.join('.')}: ${String(fault.get('msg'))}`;
  });
  return lines.join('; ');
}

/** Reads the body of `GET /route`; undefined when it is not one. */
export function parseRouteResponse(body: string): RouteResponse | undefined {
  const answer = parseJsonObject(body);
  const endpoint = answer?.get('endpoint');
  const id = answer?.get('replica_id');
  if (typeof endpoint !== 'string' || typeof id !== 'string') return undefined;
  return { endpoint: asEndpoint(endpoint), replicaId: asReplicaId(id) };
}

/** Reads the body of `GET /registry`. Undefined if it isn't one. */
export function parseRegistryResponse(body: string): Replica[] | undefined {
  const plain = parsePlainJson(body);
  if (plain !== undefined) return isPlainObject(plain) ? replicasFrom(plain.replicas, parsePlainReplica) : undefined;
  return replicasFrom(parseJsonObject(body)?.get('replicas'), parseReplica);
}

function replicasFrom<Entry>(
  entries: Entry | readonly Entry[] | undefined,
  read: (entry: Entry) => Replica | undefined,
): Replica[] | undefined {
  if (!Array.isArray(entries)) return undefined;
  const replicas = (entries as readonly Entry[]).map((entry) => read(entry));
  return replicas.every((replica) => replica !== undefined) ? replicas : undefined;
}
