import type { ServerResponse } from 'node:http';
import type { RequestHandler } from 'express';
import { EXCLUDE_HEADER, MAX_EXCLUDED, parseExcludeHeader, parseQuery } from '../api/query.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { GenerationalCache } from '../core/generational-cache.js';
import type { ReplicaId } from '../core/ids.js';
import { PreparedQuery } from '../core/index/prepared-query.js';
import type { Clock } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { NO_EXCLUSIONS } from '../core/routable-replicas.js';
import { parseTarget } from '../http/request-head.js';
import { detachString, detachStrings } from '../json/string-memory.js';
import { createErrorResponse } from './error-response.js';
import { createRouteResponder, sendTooManySearches } from './route-responses.js';
import { NO_ROUTING_HEADERS, readRoutingHeaders } from './routing-headers.js';
import { SearchTurns } from './search-turns.js';
import { SelectedRoutes } from './selected-routes.js';

/** Maximum number of cached queries. */
const MAX_CACHED_QUERIES = 4096;

/** Maximum length of the request target of a cached query, in UTF-16 units. */
const MAX_CACHED_TARGET = 256;

/**
 * Creates the handler of `GET /route`: it responds with one replica that matches the query. Clients send this request
 * before every call. While the server is warming, a response without a match says that it is temporary. Headers can exclude
 * replicas, and give a selector and a preference.
 */
export function createRouteHandler(
  registry: Pick<Registry<SerializedReplica>, 'route' | 'search' | 'id'>,
  isWarming: () => boolean,
  clock: Clock,
): RequestHandler {
  const getQuery = createQueryCache();
  const turns = new SearchTurns(clock);
  const send = createRouteResponder(registry, isWarming);
  const selectedRoutes = new SelectedRoutes({ registry, isWarming, turns });
  const search = (asked: CachedQuery, excluded: ReadonlySet<ReplicaId>): SerializedReplica | undefined => {
    // Reading the clock twice takes longer than most searches.
    const isTimed = !asked.isFast || ++asked.untimed === MAX_UNTIMED;
    if (!isTimed) return registry.route(asked.query, excluded);
    const { result, isFast } = turns.run(() => registry.route(asked.query, excluded));
    asked.isFast = isFast;
    asked.untimed = 0;
    return result;
  };
  const respond = (
    response: ServerResponse,
    target: string,
    excluded: ReadonlySet<ReplicaId>,
  ): void | Promise<void> => {
    const asked = getQuery(target);
    if (asked.isFast || turns.isFree) return send(response, search(asked, excluded));
    const later = turns.runLater(() => {
      if (!response.destroyed) send(response, search(asked, excluded));
    });
    return later ?? sendTooManySearches(response);
  };
  return (request, response) => {
    const headers = readRoutingHeaders(request.rawHeaders);
    if (headers === NO_ROUTING_HEADERS) return respond(response, request.url, NO_EXCLUSIONS);
    const excludedIds = parseExcludeHeader(headers.exclude.join());
    if (!excludedIds) return sendTooManyExcluded(response);
    const excluded = excludedIds.length === 0 ? NO_EXCLUSIONS : new Set(excludedIds);
    const isSelected = headers.selector.length > 0 || headers.prefer.length > 0;
    return isSelected
      ? selectedRoutes.respond(response, request.url, headers, excluded)
      : respond(response, request.url, excluded);
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
