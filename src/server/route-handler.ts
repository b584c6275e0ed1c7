import type { RequestHandler } from 'express';
import type { ReplicaId } from '../core/ids.js';
import { PreparedQuery } from '../core/index/prepared-query.js';
import { RecentMap } from '../core/recent-map.js';
import type { Registry } from '../core/registry.js';
import { NO_MATCH, WARMING_HEADER } from '../wire/answers.js';
import { ownText, ownTexts } from '../wire/own-text.js';
import { EXCLUDE_HEADER, excludedFromHeader, MAX_EXCLUDED, queryFromSearch } from '../wire/query.js';
import { routeBytes } from '../wire/written-replica.js';
import { failureAnswer, jsonHeaders } from './answer.js';
import { headerValues } from './raw-headers.js';
import { parseTarget } from './request-target.js';

const NOBODY: ReadonlySet<ReplicaId> = new Set();

/** Maximum number of cached queries, and maximum length of the request target of one, in UTF-16 units. */
const MAX_CACHED_QUERIES = 4096;
const MAX_CACHED_LENGTH = 256;

/**
 * `GET /route`: one replica that can do what the query asks for. It is asked before every call of a fleet. A miss of a
 * server that is warming says so.
 */
export function routeHandler(registry: Registry, isWarming: () => boolean): RequestHandler {
  const queryOf = cachedQueries();
  return (request, response) => {
    const named = headerValues(request.rawHeaders, EXCLUDE_HEADER);
    const excluded = named.length === 0 ? [] : excludedFromHeader(utf8(named.join()));
    if (!excluded) return answerTooManyExcluded(response);
    const replica = registry.route(queryOf(request.url), excluded.length === 0 ? NOBODY : new Set(excluded));
    if (!replica) return isWarming() ? answerNoMatchYet(response) : answerNoMatch(response);
    const bytes = routeBytes(replica);
    response.writeHead(200, headersFor(bytes.length)).end(bytes, 'latin1');
  };
}

const headersByLength: string[][] = [];

/** The headers of an answer of so many bytes, as Node takes them fastest. */
function headersFor(length: number): string[] {
  headersByLength[length] ??= jsonHeaders(length);
  return headersByLength[length];
}

/**
 * Returns a parser of request targets that caches the queries it has parsed, prepared, by their text. Neither the text nor
 * the query may be a slice of a long text, which would keep all of that in memory: a short target can be the end of a whole URL.
 */
function cachedQueries(): (target: string) => PreparedQuery {
  const known = new RecentMap<string, PreparedQuery>(MAX_CACHED_QUERIES);
  return (target) => {
    const cached = known.get(target);
    if (cached) return cached;
    const pairs = queryFromSearch(parseTarget(target).search);
    if (target.length > MAX_CACHED_LENGTH) return new PreparedQuery(ownTexts(pairs));
    const query = new PreparedQuery(pairs);
    known.set(ownText(target), query);
    return query;
  };
}

const answerTooManyExcluded = failureAnswer(
  'usage',
  `${EXCLUDE_HEADER} names more than ${MAX_EXCLUDED} replicas; give at most ${MAX_EXCLUDED}`,
);
const answerNoMatch = failureAnswer('no_match', NO_MATCH);
const answerNoMatchYet = failureAnswer('no_match', NO_MATCH, { 'retry-after': '1', [WARMING_HEADER]: '1' });

/** A header's text: Node hands each byte of it on as one character. */
function utf8(header: string): string {
  return Buffer.from(header, 'latin1').toString('utf8');
}
