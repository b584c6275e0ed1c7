import type { ServerResponse } from 'node:http';
import type { RequestHandler } from 'express';
import { NO_MATCH_DETAIL, WARMING_HEADER } from '../api/api-responses.js';
import { EXCLUDE_HEADER, MAX_EXCLUDED, parseExcludeHeader, parseQuery } from '../api/query.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { GenerationalCache } from '../core/generational-cache.js';
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
  registry: Pick<Registry<SerializedReplica>, 'route'>,
  isWarming: () => boolean,
  clock: Clock,
): RequestHandler {
  const getQuery = createQueryCache();
  const turns = new SearchTurns(clock);
  return (request, response) => {
    const excludeHeaders = getHeaderValues(request.rawHeaders, EXCLUDE_HEADER);
    const excluded = excludeHeaders.length === 0 ? [] : parseExcludeHeader(decodeUtf8(excludeHeaders.join()));
    if (!excluded) return sendTooManyExcluded(response);
    const asked = getQuery(request.url);
    const respond = (): void => {
      const excludedIds = excluded.length === 0 ? NO_EXCLUSIONS : new Set(excluded);
      const { result: replica, isFast } = turns.run(() => registry.route(asked.query, excludedIds));
      asked.isFast = isFast;
      if (replica) sendRoute(response, replica);
      else if (isWarming()) sendNoMatchYet(response);
      else sendNoMatch(response);
    };
    if (asked.isFast || turns.isFree) return respond();
    const later = turns.runLater(() => {
      if (!response.destroyed) respond();
    });
    return later ?? sendTooManySearches(response);
  };
}

function sendRoute(response: ServerResponse, { routeResponse }: SerializedReplica): void {
  response.writeHead(200, getHeaders(routeResponse.length)).end(routeResponse, 'latin1');
}

/** A query, and whether its last search was fast. */
interface CachedQuery {
  readonly query: PreparedQuery;
  isFast: boolean;
}

const headersByLength: string[][] = [];

/** Returns the headers of a response with this body length in bytes. Cached, in the form that Node writes fastest. */
function getHeaders(length: number): string[] {
  headersByLength[length] ??= createJsonHeaders(length);
  return headersByLength[length];
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
    if (target.length > MAX_CACHED_TARGET) return { query: new PreparedQuery(detachStrings(pairs)), isFast: false };
    const asked = { query: new PreparedQuery(pairs), isFast: false };
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
