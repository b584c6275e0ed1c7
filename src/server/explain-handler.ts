import type { RequestHandler } from 'express';
import { serializeExplanation } from '../api/explanation-json.js';
import { parseProtocolHeader } from '../api/protocol-header.js';
import { parseQuery } from '../api/query.js';
import { parseSelectorHeader, SELECTOR_HEADER } from '../api/selector-header.js';
import { AnyserveError } from '../core/errors.js';
import { RETRY_LATER_HEADERS, sendJson } from '../http/json-response.js';
import { parseTarget } from '../http/request-head.js';
import { createErrorResponse, sendError } from './error-response.js';
import type { ExplainedRegistry, ExplanationQueue } from './explanation-queue.js';
import { parseHeader, readRoutingHeaders } from './routing-headers.js';

/**
 * Creates the handler of `GET /explain`: it responds with the replicas that a query finds, or with the reason why
 * it finds none. Headers can ask for a protocol, and for replicas that match a selector.
 * Clients ask it for people, once, and never in a retry loop.
 */
export function createExplainHandler(registry: ExplainedRegistry, queue: ExplanationQueue): RequestHandler {
  return async (request, response) => {
    const query = parseQuery(parseTarget(request.url).search);
    const headers = readRoutingHeaders(request.rawHeaders);
    const protocol = parseHeader(() => parseProtocolHeader(headers.protocol));
    if (protocol instanceof AnyserveError) return sendError(response, protocol.code, protocol.message);
    const selector = parseHeader(() => parseSelectorHeader(headers.selector, SELECTOR_HEADER));
    if (selector instanceof AnyserveError) return sendError(response, selector.code, selector.message);
    const explaining = queue.add(registry, { query, selector, protocol }, () => !response.destroyed);
    if (!explaining) return sendTooManyExplanations(response);
    const explanation = await explaining;
    if (explanation) sendJson(response, 200, serializeExplanation(explanation));
  };
}

const sendTooManyExplanations = createErrorResponse(
  'unavailable',
  'too many queries wait to be explained; try again',
  RETRY_LATER_HEADERS,
);
