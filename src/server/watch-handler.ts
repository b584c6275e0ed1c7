import type { RequestHandler } from 'express';
import { parseEventPosition } from '../api/event-frames.js';
import { parseProtocolHeader } from '../api/protocol-header.js';
import { parseQuery } from '../api/query.js';
import { parseSelectorHeader, SELECTOR_APPLIED, SELECTOR_HEADER } from '../api/selector-header.js';
import { LAST_EVENT_ID_HEADER } from '../api/watch-events.js';
import { AnyserveError } from '../core/errors.js';
import { toHost } from '../core/host.js';
import { RETRY_LATER_HEADERS } from '../http/json-response.js';
import { parseTarget } from '../http/request-head.js';
import { detachStrings } from '../json/string-memory.js';
import { sendError } from './error-response.js';
import type { EventStreams } from './event-stream-response.js';
import type { Readiness } from './readiness.js';
import { parseHeader, readRoutingHeaders } from './routing-headers.js';
import { StreamLimit } from './stream-limit.js';
import type { WatchedRegistry } from './watch-feeds.js';
import type { WatchHub } from './watch-hub.js';

/** Options of the watch handler. */
export interface WatchHandlerOptions {
  readonly registry: WatchedRegistry;
  readonly watches: Pick<WatchHub, 'watch'>;
  readonly streams: Pick<EventStreams, 'open'>;
  readonly readiness: Readiness;
  /** Counts the streams of all handlers. */
  readonly watchLimit: StreamLimit;
}

/** Creates the limit on watches. With 10,000 different filters, a change costs 10,000 comparisons. */
export function createWatchLimit(maxPerPeer: number | undefined): StreamLimit {
  const whenFull = 'too many clients watch this API server; try again, or use another one';
  return new StreamLimit({ name: 'watches', max: 10_000, whenFull, maxPerPeer });
}

/** The checks that a watch needs. Unlike a registration, it needs no complete list: it gets what is missing later. */
const REQUIRED_CHECKS = ['phase', 'open_files'];

/**
 * Creates the handler of `GET /watch`: server-sent events with all replicas that match the query, the selector and the protocol,
 * whatever their state, and then each change.
 */
export function createWatchHandler({
  registry,
  watches,
  streams,
  readiness,
  watchLimit: limit,
}: WatchHandlerOptions): RequestHandler {
  return (request, response) => {
    const reason = REQUIRED_CHECKS.map((name) => readiness.findReason(name)).find((one) => one !== undefined);
    if (reason !== undefined) {
      return sendError(response, 'unavailable', `this API server can't be watched: ${reason}`, RETRY_LATER_HEADERS);
    }
    const host = toHost(request.socket.remoteAddress);
    const refusal = limit.check(host);
    if (refusal) return sendError(response, refusal.code, refusal.message, RETRY_LATER_HEADERS);
    const headers = readRoutingHeaders(request.rawHeaders);
    const protocol = parseHeader(() => parseProtocolHeader(headers.protocol));
    if (protocol instanceof AnyserveError) return sendError(response, protocol.code, protocol.message);
    const selector = parseHeader(() => parseSelectorHeader(headers.selector, SELECTOR_HEADER));
    if (selector instanceof AnyserveError) return sendError(response, selector.code, selector.message);
    if (headers.selector.length > 0) response.setHeader(SELECTOR_HEADER, SELECTOR_APPLIED);
    if (request.method === 'HEAD') return void streams.open(response, () => '');
    const lastEventId = request.headers[LAST_EVENT_ID_HEADER];
    const position = parseEventPosition(typeof lastEventId === 'string' ? lastEventId : undefined);
    // A substring would keep the whole URL in memory.
    const query = detachStrings(parseQuery(parseTarget(request.url).search));
    const release = limit.add(host);
    watches.watch(registry, { query, selector, protocol }, position, response).onClosed(release);
  };
}
