import type { ServerResponse } from 'node:http';
import { NO_MATCH_DETAIL, WARMING_HEADER } from '../api/api-responses.js';
import { REGISTRY_HEADER, UNKNOWN_REGISTRY } from '../api/instance-json.js';
import { formatProtocolHeader } from '../api/protocol-header.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import type { Protocol } from '../core/protocol.js';
import type { Registry } from '../core/registry.js';
import { createJsonHeaders, RETRY_LATER_HEADERS } from '../http/json-response.js';
import { createErrorResponse, sendError } from './error-response.js';

type Headers = Readonly<Record<string, string>>;

/**
 * Outcome of a route request. If replicas match except that they have another protocol than the requested one, `none` has that
 * protocol.
 */
export type RouteOutcome =
  | { readonly kind: 'found'; readonly replica: SerializedReplica }
  | { readonly kind: 'none'; readonly otherProtocol: Protocol | undefined };

/** Creates a function that responds to a route request: with the replica that was chosen, or that there is none. */
export function createRouteResponder(
  registry: Pick<Registry, 'id'>,
  isWarming: () => boolean,
  headers: Headers = {},
): (response: ServerResponse, outcome: RouteOutcome) => void {
  const getHeaders = createHeaderCache(registry, headers);
  const sendNoMatch = createErrorResponse('no_match', NO_MATCH_DETAIL, headers);
  const warmingHeaders = { ...headers, 'retry-after': '1', [WARMING_HEADER]: '1' };
  const sendNoMatchYet = createErrorResponse('no_match', NO_MATCH_DETAIL, warmingHeaders);
  return (response, outcome) => {
    if (outcome.kind === 'none') {
      const { otherProtocol } = outcome;
      if (!otherProtocol) return isWarming() ? sendNoMatchYet(response) : sendNoMatch(response);
      const otherHeaders = { ...(isWarming() ? warmingHeaders : headers), ...formatProtocolHeader(otherProtocol) };
      return sendError(response, 'no_match', NO_MATCH_DETAIL, otherHeaders);
    }
    const { routeResponse } = outcome.replica;
    response.writeHead(200, getHeaders(routeResponse.length)).end(routeResponse, 'latin1');
  };
}

/**
 * Creates a function that returns the headers of a response with a body of this length in bytes. They are cached, in the form
 * that Node writes fastest, until the registry has another id.
 */
function createHeaderCache(registry: Pick<Registry, 'id'>, headers: Headers): (length: number) => string[] {
  let headersByLength: string[][] = [];
  let id = registry.id;
  return (length) => {
    if (registry.id !== id) headersByLength = [];
    id = registry.id;
    headersByLength[length] ??= [...createJsonHeaders(length, headers), REGISTRY_HEADER, id ?? UNKNOWN_REGISTRY];
    return headersByLength[length];
  };
}

/** Refuses a search while too many others wait. */
export const sendTooManySearches = createErrorResponse(
  'unavailable',
  'too many new queries wait to be searched; try again',
  RETRY_LATER_HEADERS,
);
