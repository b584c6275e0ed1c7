import type { RequestHandler } from 'express';
import { NO_MATCH_DETAIL, WARMING_HEADER } from '../api/api-responses.js';
import { EXCLUDE_HEADER, MAX_EXCLUDED, parseExcludeHeader, parseQuery } from '../api/query.js';
import { serializeRouteResponse } from '../api/serialized-replica.js';
import { GenerationalCache } from '../core/generational-cache.js';
import type { ReplicaId } from '../core/ids.js';
import { PreparedQuery } from '../core/index/prepared-query.js';
import type { Registry } from '../core/registry.js';
import { createJsonHeaders } from '../http/json-response.js';
import { getHeaderValues, parseTarget } from '../http/request-head.js';
import { detachString, detachStrings } from '../json/string-memory.js';
import { createErrorResponse } from './error-response.js';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

/** Maximum number of cached queries, and maximum length of the request target of one, in UTF-16 units. */
const MAX_CACHED_QUERIES = 4096;
const MAX_CACHED_LENGTH = 256;

/**
 * `GET /route`: one replica that can do what the query asks for. It is asked before every call of a fleet. A miss of a
 * server that is warming says so.
 */
export function createRouteHandler(registry: Registry, isWarming: () => boolean): RequestHandler {
  const queryOf = cachedQueries();
  return (request, response) => {
    const named = getHeaderValues(request.rawHeaders, EXCLUDE_HEADER);
    const excluded = named.length === 0 ? [] : parseExcludeHeader(utf8(named.join()));
    if (!excluded) return answerTooManyExcluded(response);
    const replica = registry.route(queryOf(request.url), excluded.length === 0 ? NOBODY : new Set(excluded));
    if (!replica) return isWarming() ? answerNoMatchYet(response) : answerNoMatch(response);
    const bytes = serializeRouteResponse(replica);
    response.writeHead(200, headersFor(bytes.length)).end(bytes, 'latin1');
  };
}

const headersByLength: string[][] = [];

/** The headers of an answer of so many bytes, as Node takes them fastest. */
function headersFor(length: number): string[] {
  headersByLength[length] ??= createJsonHeaders(length);
  return headersByLength[length];
}

/**
 * Returns a parser of request targets that caches the queries it has parsed, prepared, by their text. Neither the text nor
 * the query may be a slice of a long text, which would keep all of that in memory: a short target can be the end of a whole URL.
 */
function cachedQueries(): (target: string) => PreparedQuery {
  const known = new GenerationalCache<string, PreparedQuery>(MAX_CACHED_QUERIES);
  return (target) => {
    const cached = known.get(target);
    if (cached) return cached;
    const pairs = parseQuery(parseTarget(target).search);
    if (target.length > MAX_CACHED_LENGTH) return new PreparedQuery(detachStrings(pairs));
    const query = new PreparedQuery(pairs);
    known.set(detachString(target), query);
    return query;
  };
}

const answerTooManyExcluded = createErrorResponse(
  'usage',
  `${EXCLUDE_HEADER} names more than ${MAX_EXCLUDED} replicas; give at most ${MAX_EXCLUDED}`,
);
const answerNoMatch = createErrorResponse('no_match', NO_MATCH_DETAIL);
const answerNoMatchYet = createErrorResponse('no_match', NO_MATCH_DETAIL, {
  'retry-after': '1',
  [WARMING_HEADER]: '1',
});

/** A header's text: Node hands each byte of it on as one character. */
function utf8(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
