import { asEndpoint, asReplicaId, type Endpoint, type ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import type { ReplicaPage } from '../core/replica-pages.js';
import { formatScalar } from '../json/capability-json.js';
import { parseJsonObject } from '../json/exact-json.js';
import { isJsonObject } from '../json/json-value.js';
import { isPlainObject, parsePlainJson } from '../json/plain-json.js';
import { parsePlainReplica, parseReplica } from './replica-json.js';
import type { PageSerializer } from './serialized-page.js';
import type { SerializedReplica } from './serialized-replica.js';

/** The response body of `GET /route`: the replica to call. */
export interface RouteResponse {
  readonly replicaId: ReplicaId;
  readonly endpoint: Endpoint;
}

/** Error detail of the 404 response to a query without matches. */
export const NO_MATCH_DETAIL = 'no matching replica';

/**
 * Response header of a 404 for a query without matches, sent while the server has just started and replicas can still
 * be re-registering.
 */
export const WARMING_HEADER = 'x-anyserve-warming';

/** Response header that distinguishes a 401 or 403 of an API server from one of another program, such as a proxy. */
export const REFUSAL_HEADER = 'x-anyserve-refusal';

/** Serializes the body of an error response. */
export function serializeErrorDetail(detail: string): string {
  return JSON.stringify({ detail });
}

const LIST_BEGIN = Buffer.from('{"replicas":[');
const LIST_END = Buffer.from(']}');

/** Serializes the response body of `GET /registry`. Yields one buffer per page. */
export function* serializeRegistryResponse(
  pages: readonly ReplicaPage<SerializedReplica>[],
  serializer: PageSerializer,
): Generator<Buffer> {
  serializer.retain(pages);
  yield LIST_BEGIN;
  let isFirst = true;
  for (const page of pages) {
    const bytes = serializer.serialize(page);
    if (bytes.length === 0) continue;
    // Each page begins with a comma.
    yield isFirst ? bytes.subarray(1) : bytes;
    isFirst = false;
  }
  yield LIST_END;
}

/** Parses the detail of an error response. Returns undefined if the body has no text as `detail`. */
export function parseErrorDetail(body: string): string | undefined {
  const detail = parseJsonObject(body)?.get('detail');
  return typeof detail === 'string' ? detail : undefined;
}

/** Formats the issues of a 422 response on one line. Returns undefined if the body has no list of issues. */
export function formatValidationIssues(body: string): string | undefined {
  const issues = parseJsonObject(body)?.get('detail');
  if (!Array.isArray(issues)) return undefined;
  const lines = issues.filter(isJsonObject).map((issue) => {
    const loc = issue.get('loc');
    const path = Array.isArray(loc) ? loc.slice(1).map(formatScalar) : [];
    return `${path.join('.')}: ${String(issue.get('msg'))}`;
  });
  return lines.join('; ');
}

/** Parses the response body of `GET /route`. Returns undefined for any other body. */
export function parseRouteResponse(body: string): RouteResponse | undefined {
  const response = parseJsonObject(body);
  const endpoint = response?.get('endpoint');
  const id = response?.get('replica_id');
  if (typeof endpoint !== 'string' || typeof id !== 'string') return undefined;
  return { endpoint: asEndpoint(endpoint), replicaId: asReplicaId(id) };
}

/** Parses the response body of `GET /registry`. Returns undefined for any other body. */
export function parseRegistryResponse(body: string): Replica[] | undefined {
  const plain = parsePlainJson(body);
  if (plain !== undefined) return isPlainObject(plain) ? parseEntries(plain.replicas, parsePlainReplica) : undefined;
  return parseEntries(parseJsonObject(body)?.get('replicas'), parseReplica);
}

function parseEntries<Entry>(
  entries: Entry | readonly Entry[] | undefined,
  parseEntry: (entry: Entry) => Replica | undefined,
): Replica[] | undefined {
  if (!Array.isArray(entries)) return undefined;
  const replicas = (entries as readonly Entry[]).map((entry) => parseEntry(entry));
  return replicas.every((replica) => replica !== undefined) ? replicas : undefined;
}
