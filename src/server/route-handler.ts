import type { ServerResponse } from 'node:http';
import type { RequestHandler } from 'express';
import { parseProtocolHeader } from '../api/protocol-header.js';
import { EXCLUDE_HEADER, MAX_EXCLUDED, parseExcludeHeader, parseQuery } from '../api/query.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { AnyserveError } from '../core/errors.js';
import { GenerationalCache } from '../core/generational-cache.js';
import type { ReplicaId } from '../core/ids.js';
import { PreparedQuery } from '../core/index/prepared-query.js';
import type { Clock } from '../core/ports.js';
import { getOtherProtocol, type Protocol } from '../core/protocol.js';
import type { Registry } from '../core/registry.js';
import { NO_EXCLUSIONS } from '../core/routable-replicas.js';
import { parseTarget } from '../http/request-head.js';
import { detachString, detachStrings } from '../json/string-memory.js';
import { createErrorResponse, sendError } from './error-response.js';
import { createRouteResponder, type RouteOutcome, sendTooManySearches } from './route-responses.js';
import { NO_ROUTING_HEADERS, parseHeader, type RoutingHeaders, readRoutingHeaders } from './routing-headers.js';
import type { SearchTurns } from './search-turns.js';
import { SelectedRoutes } from './selected-routes.js';
import { createStalenessHeaders, findStalenessRefusal } from './staleness.js';

/** Maximum number of cached queries. */
const MAX_CACHED_QUERIES = 4096;

/** Maximum length of the request target of a cached query, in UTF-16 units. */
const MAX_CACHED_TARGET = 256;

/** Dependencies of {@link createRouteHandler}. */
export interface RouteHandlerOptions {
  readonly registry: Pick<Registry<SerializedReplica>, 'route' | 'search' | 'id' | 'stalenessMs'>;
  readonly clock: Clock;
  readonly isWarming: () => boolean;
  readonly turns: SearchTurns;
}

/**
 * Creates the handler of `GET /route`: it responds with one replica that matches the query. Clients send this request
 * before every call. While the server is warming, a response without a match says that it is temporary. Headers can ask for a
 * protocol, exclude replicas, give a selector and a preference, and limit how old the server's knowledge can be.
 */
export function createRouteHandler({ registry, clock, isWarming, turns }: RouteHandlerOptions): RequestHandler {
  const caches = { any: createQueryCache(), grpc: createQueryCache('grpc'), http: createQueryCache('http') };
  const send = createRouteResponder({ registry, clock, isWarming });
  const selectedRoutes = new SelectedRoutes({ registry, clock, isWarming, turns });
  const search = (asked: CachedQuery, excluded: ReadonlySet<ReplicaId>): RouteOutcome => {
    // Reading the clock twice takes longer than most searches.
    const isTimed = !asked.isFast || ++asked.untimed === MAX_UNTIMED;
    if (!isTimed) return findReplica(registry, asked, excluded);
    const { result, isFast } = turns.run(() => findReplica(registry, asked, excluded));
    asked.isFast = isFast;
    asked.untimed = 0;
    return result;
  };
  const respond = (
    response: ServerResponse,
    target: string,
    excluded: ReadonlySet<ReplicaId>,
    protocol?: Protocol,
  ): void | Promise<void> => {
    const asked = caches[protocol ?? 'any'](target);
    if (asked.isFast || turns.isFree) return send(response, search(asked, excluded));
    const later = turns.runLater(() => {
      if (!response.destroyed) send(response, search(asked, excluded));
    });
    return later ?? sendTooManySearches(response);
  };
  return (request, response) => {
    const headers = readRoutingHeaders(request.rawHeaders);
    if (headers === NO_ROUTING_HEADERS) return respond(response, request.url, NO_EXCLUSIONS);
    const refusal = findStalenessRefusal(registry, headers.maxStaleness);
    if (refusal) return sendError(response, refusal.code, refusal.message, createStalenessHeaders(registry));
    const protocol = parseHeader(() => parseProtocolHeader(headers.protocol));
    if (protocol instanceof AnyserveError) return sendError(response, protocol.code, protocol.message);
    const excluded = readExcluded(headers);
    if (!excluded) return sendTooManyExcluded(response);
    const isSelected = headers.selector.length > 0 || headers.prefer.length > 0;
    return isSelected
      ? selectedRoutes.respond(response, request.url, headers, protocol, excluded)
      : respond(response, request.url, excluded, protocol);
  };
}

/** Returns the ids of the replicas to exclude; undefined for too many. */
function readExcluded({ exclude }: RoutingHeaders): ReadonlySet<ReplicaId> | undefined {
  if (exclude.length === 0) return NO_EXCLUSIONS;
  const ids = parseExcludeHeader(exclude.join());
  return ids && new Set(ids);
}

/** Finds a match of a query, or else whether the other protocol has one. */
function findReplica(
  registry: Pick<Registry<SerializedReplica>, 'route'>,
  { query, protocol }: CachedQuery,
  excluded: ReadonlySet<ReplicaId>,
): RouteOutcome {
  const replica = registry.route(query, excluded, protocol);
  if (replica) return { kind: 'found', replica };
  const otherProtocol = protocol && getOtherProtocol(protocol);
  const hasOther = otherProtocol && registry.route(query, NO_EXCLUSIONS, otherProtocol) !== undefined;
  return { kind: 'none', otherProtocol: hasOther ? otherProtocol : undefined };
}

/** Number of searches of a fast query of which one is timed. A query can become slow when replicas change. */
const MAX_UNTIMED = 16;

/** A query, its protocol, and whether its last search was fast. */
interface CachedQuery {
  readonly query: PreparedQuery;
  readonly protocol: Protocol | undefined;
  isFast: boolean;
  /** Number of searches since the last one that was timed. */
  untimed: number;
}

/**
 * Creates a parser of the targets of requests for a protocol. It caches prepared queries by target. Cached strings are detached: a short target
 * can be a slice of a whole URL, and V8 would keep the whole URL in memory.
 */
function createQueryCache(protocol?: Protocol): (target: string) => CachedQuery {
  const cache = new GenerationalCache<string, CachedQuery>(MAX_CACHED_QUERIES);
  const createQuery = (query: PreparedQuery): CachedQuery => ({ query, protocol, isFast: false, untimed: 0 });
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
