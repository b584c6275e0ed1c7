import type { RequestHandler } from 'express';
import { serializeErrorDetail } from '../api/api-responses.js';
import type { HostCheck } from '../http/host-check.js';
import { sendJson } from '../http/json-response.js';
import type { ApiResource } from './api-resources.js';
import { type AccessTokens, authorizeRequest, OPEN_ACCESS } from './authorization.js';
import { sendError } from './error-response.js';

/** Maximum number of headers of a request. */
const MAX_HEADERS = 100;

const HEADERS_DETAIL = `the request has more than ${MAX_HEADERS} headers`;

const TOO_MANY_HEADERS = serializeErrorDetail(HEADERS_DETAIL);

const CLOSE = { connection: 'close' };

/** The tokens and host names that requests are checked against. */
export interface GuardOptions {
  readonly tokens: AccessTokens;
  readonly hosts: HostCheck;
}

/** Creates the handler of a resource. It checks the method, the access and the host name, and then calls the method's handler. */
export function guardResource(
  { access, methods, onRefused }: ApiResource,
  { tokens, hosts }: GuardOptions,
): RequestHandler {
  const allow = Object.keys(methods).join(', ');
  return (request, response, next) => {
    if (request.rawHeaders.length / 2 > MAX_HEADERS) {
      if (Object.hasOwn(methods, request.method)) onRefused?.(request, { code: 'too_large', reason: HEADERS_DETAIL });
      return sendJson(response, 431, TOO_MANY_HEADERS, CLOSE);
    }
    // Node omits the body of the response to a HEAD.
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const handler = Object.hasOwn(methods, method) ? methods[method] : undefined;
    if (!handler) return sendJson(response, 405, serializeErrorDetail('Method Not Allowed'), { allow });
    const decision = access === 'open' ? OPEN_ACCESS : authorizeRequest(access, request, tokens);
    const problem = hosts.findProblem(request, decision === OPEN_ACCESS && access !== 'open');
    if (problem) {
      onRefused?.(request, { code: problem.status === 400 ? 'usage' : 'permission_denied', reason: problem.detail });
      return sendJson(response, problem.status, serializeErrorDetail(problem.detail));
    }
    if (decision.kind === 'granted') return handler(request, response, next, decision.prefixes);
    onRefused?.(request, { code: 'unauthenticated', reason: decision.detail });
    sendError(response, 'unauthenticated', decision.detail, { 'www-authenticate': 'Bearer' });
  };
}
