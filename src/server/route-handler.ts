import type { ServerResponse } from 'node:http';
import type { RequestHandler } from 'express';
import { NO_MATCH_DETAIL, WARMING_HEADER } from '../api/api-responses.js';
import { REGISTRY_HEADER, UNKNOWN_REGISTRY } from '../api/instance-json.js';
import { EXCLUDE_HEADER, MAX_EXCLUDED, parseExcludeHeader, parseQuery } from '../api/query.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { GenerationalCache } from '../core/generational-cache.js';
import type { ReplicaId } from '../core/ids.js';
import { PreparedQuery } from '../core/index/prepared-query.js';
import type { Clock } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { NO_EXCLUSIONS } from '../core/replica-list.js';
import { createJsonHeaders, RETRY_LATER_HEADERS } from '../http/json-response.js';
import { getHeaderValues, parseTarget } from '../http/request-head.js';
import { detachString, detachStrings } from '../json/string-memory.js';
import { createErrorResponse } from './error-response.js';
import { SearchTurns } from './search-turns.js';

/** Maximum number of cached queries. */
const MAX_CACHED_QUERIES = 4096;

/** Maximum length of the request target of a cached query, in UTF-16 units. */
const MAX_CACHED_TARGET = 256;

/**
 * Creates the handler of `GET /route`: it responds with one replica that matches the query. Clients send this request
 * before every call. While the server is warming, a response without a match says that it is temporary.
 */
export function createRouteHandler(
  registry: Pick<Registry<SerializedReplica>, 'route' | 'id'>,
  isWarming: () => boolean,
  clock: Clock,
): RequestHandler {
  const getQuery = createQueryCache();
  const turns = new SearchTurns(clock);
  const getHeaders = createHeaderCache(registry);
  const sendRoute = (response: ServerResponse, { routeResponse }: SerializedReplica): void => {
    response.writeHead(200, getHeaders(routeResponse.length)).end(routeResponse, 'latin1');
  };
  const search = (asked: CachedQuery, excluded: ReadonlySet<ReplicaId>): SerializedReplica | undefined => {
    // Reading the clock twice takes longer than most searches.
    const isTimed = !asked.isFast || ++asked.untimed === MAX_UNTIMED;
    if (!isTimed) return registry.route(asked.query, excluded);
    const { result, isFast } = turns.run(() => registry.route(asked.query, excluded));
    asked.isFast = isFast;
    asked.untimed = 0;
    return result;
  };
  const respond = (response: ServerResponse, asked: CachedQuery, excluded: readonly ReplicaId[]): void => {
    const replica = search(asked, excluded.length === 0 ? NO_EXCLUSIONS : new Set(excluded));
    if (replica) sendRoute(response, replica);
    else if (isWarming()) sendNoMatchYet(response);
    else sendNoMatch(response);
  };
  return (request, response) => {
    const excludeHeaders = getHeaderValues(request.rawHeaders, EXCLUDE_HEADER);
    const excluded = excludeHeaders.length === 0 ? [] : parseExcludeHeader(decodeUtf8(excludeHeaders.join()));
    if (!excluded) return sendTooManyExcluded(response);
    const asked = getQuery(request.url);
    if (asked.isFast || turns.isFree) return respond(response, asked, excluded);
    const later = turns.runLater(() => {
      if (!response.destroyed) respond(response, asked, excluded);
    });
    return later ?? sendTooManySearches(response);
  };
}

function createQuery(query: PreparedQuery): CachedQuery {
  return { query, isFast: false, untimed: 0 };
}

/** Number of searches of a fast query of which one is timed. A query can become slow when replicas change. */
const MAX_UNTIMED = 16;

/** A query, and whether its last search was fast. */
interface CachedQuery {
  readonly query: PreparedQuery;
  isFast: boolean;
  /** Number of searches since the last one that was timed. */
  untimed: number;
}

/**
 * Creates a function that returns the headers of a response with a body of this length in bytes. They are cached, in the form
 * that Node writes fastest, until the registry has another id.
 */
function createHeaderCache(registry: Pick<Registry, 'id'>): (length: number) => string[] {
  let headersByLength: string[][] = [];
  let id = registry.id;
  return (length) => {
    if (registry.id !== id) headersByLength = [];
    id = registry.id;
    headersByLength[length] ??= [...createJsonHeaders(length), REGISTRY_HEADER, id ?? UNKNOWN_REGISTRY];
    return headersByLength[length];
  };
}

/**
 * Creates a parser of request targets that caches prepared queries by target. Cached strings are detached: a short target
 * can be a slice of a whole URL, and V8 would keep the whole URL in memory.
 */
function createQueryCache(): (target: string) => CachedQuery {
  const cache = new GenerationalCache<string, CachedQuery>(MAX_CACHED_QUERIES);
  return (target) => {
    const cached = cache.get(target);
    if (cached) return cached;
    const pairs = parseQuery(parseTarget(target).search);
    if (target.length > MAX_CACHED_TARGET) return createQuery(new PreparedQuery(detachStrings(pairs)));
    const asked = createQuery(new PreparedQuery(pairs));
    cache.set(detachString(target), asked);
    return asked;
  };
}

const sendTooManyExcluded = createErrorResponse(
  'usage',
  `${EXCLUDE_HEADER} names more than ${MAX_EXCLUDED} replicas; give at most ${MAX_EXCLUDED}`,
);
const sendTooManySearches = createErrorResponse(
  'unavailable',
  'too many new queries wait to be searched; try again',
  RETRY_LATER_HEADERS,
);
const sendNoMatch = createErrorResponse('no_match', NO_MATCH_DETAIL);
const sendNoMatchYet = createErrorResponse('no_match', NO_MATCH_DETAIL, {
  'retry-after': '1',
  [WARMING_HEADER]: '1',
});

/** Decodes a header value as UTF-8. Node returns each byte of it as one character. */
function decodeUtf8(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
