import type { ServerResponse } from 'node:http';
import { NO_MATCH_DETAIL, serializeErrorDetail, WARMING_HEADER } from '../api/api-responses.js';
import { REGISTRY_HEADER, UNKNOWN_REGISTRY } from '../api/instance-json.js';
import { formatProtocolHeader } from '../api/protocol-header.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { STALENESS_HEADER } from '../api/staleness-header.js';
import { toHttpStatus } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { Protocol } from '../core/protocol.js';
import type { Registry } from '../core/registry.js';
import { createJsonHeaders, RETRY_LATER_HEADERS, sendText } from '../http/json-response.js';
import { createErrorResponse, sendError } from './error-response.js';
import { createStalenessHeaders, createStalenessReader } from './staleness.js';

type Headers = Readonly<Record<string, string>>;

/**
 * Outcome of a route request. If replicas match except that they have another protocol than the requested one, `none` has that
 * protocol.
 */
export type RouteOutcome =
  | { readonly kind: 'found'; readonly replica: SerializedReplica }
  | { readonly kind: 'none'; readonly otherProtocol: Protocol | undefined };

const NO_MATCH_BODY = serializeErrorDetail(NO_MATCH_DETAIL);
const NO_MATCH_STATUS = toHttpStatus('no_match');

/** Dependencies of {@link createRouteResponder}. */
export interface RouteResponderOptions {
  readonly registry: Pick<Registry, 'id' | 'stalenessMs'>;
  readonly clock: Clock;
  readonly isWarming: () => boolean;
}

/** Creates a function that responds to a route request: with the replica that was chosen, or that there is none. */
export function createRouteResponder(
  { registry, clock, isWarming }: RouteResponderOptions,
  headers: Headers = {},
): (response: ServerResponse, outcome: RouteOutcome) => void {
  const readStaleness = createStalenessReader(registry, clock);
  const warmingHeaders = { ...headers, 'retry-after': '1', [WARMING_HEADER]: '1' };
  const getHeaders = createHeaderCache(registry, readStaleness, headers);
  const getWarmingHeaders = createHeaderCache(registry, readStaleness, warmingHeaders);
  return (response, outcome) => {
    if (outcome.kind === 'none') {
      const { otherProtocol } = outcome;
      if (!otherProtocol) {
        const list = (isWarming() ? getWarmingHeaders : getHeaders)(NO_MATCH_BODY.length);
        return sendText(response, NO_MATCH_STATUS, list, NO_MATCH_BODY, 'latin1');
      }
      const others = { ...createStalenessHeaders(registry), ...formatProtocolHeader(otherProtocol) };
      const allHeaders = { ...(isWarming() ? warmingHeaders : headers), ...others };
      return sendError(response, 'no_match', NO_MATCH_DETAIL, allHeaders);
    }
    const { routeResponse } = outcome.replica;
    sendText(response, 200, getHeaders(routeResponse.length), routeResponse, 'latin1');
  };
}

/** Position of the value of the staleness in a list of headers, from the end. */
const STALENESS_FROM_END = 3;

/**
 * Creates a function that returns the headers of a response with a body of this length in bytes. They are cached, in the form
 * that Node writes fastest, until the registry has another id. Only the staleness of a shared registry changes.
 */
function createHeaderCache(
  registry: Pick<Registry, 'id'>,
  readStaleness: () => string | undefined,
  headers: Headers,
): (length: number) => string[] {
  let headersByLength: string[][] = [];
  let id = registry.id;
  return (length) => {
    if (registry.id !== id) headersByLength = [];
    id = registry.id;
    const staleness = readStaleness();
    headersByLength[length] ??= [
      ...createJsonHeaders(length, headers),
      ...(staleness === undefined ? [] : [STALENESS_HEADER, '']),
      REGISTRY_HEADER,
      id ?? UNKNOWN_REGISTRY,
    ];
    const list = headersByLength[length];
    if (staleness !== undefined) list[list.length - STALENESS_FROM_END] = staleness;
    return list;
  };
}

/** Refuses a search while too many others wait. */
export const sendTooManySearches = createErrorResponse(
  'unavailable',
  'too many new queries wait to be searched; try again',
  RETRY_LATER_HEADERS,
);
