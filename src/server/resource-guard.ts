import type { RequestHandler, Response } from 'express';
import { serializeErrorDetail } from '../api/api-responses.js';
import { formatScope, type Scope, WHOLE_REGISTRY } from '../core/scope.js';
import type { HostCheck } from '../http/host-check.js';
import { sendJson } from '../http/json-response.js';
import type { ApiResource, ResourceAccess, ResourceMethods } from './api-resources.js';
import {
  type Access,
  type AccessTokens,
  authorizePeer,
  authorizeRequest,
  needsToken,
  OPEN_ACCESS,
} from './authorization.js';
import { sendError } from './error-response.js';
import type { RegistryPart, RegistryParts } from './registry-parts.js';

/** Maximum number of headers of a request. */
const MAX_HEADERS = 100;

const HEADERS_DETAIL = `the request has more than ${MAX_HEADERS} headers`;

const TOO_MANY_HEADERS = serializeErrorDetail(HEADERS_DETAIL);

const CLOSE = { connection: 'close' };

/** The tokens and host names that requests are checked against. */
export interface GuardOptions {
  readonly parts: RegistryParts;
  readonly tokens: AccessTokens;
  readonly hosts: HostCheck;
}

/** The kind of token that a resource needs. Undefined for none. */
const TOKEN_ACCESS: Readonly<Record<ResourceAccess, Access | undefined>> = {
  open: undefined,
  page: undefined,
  read: 'read',
  whole: 'read',
  register: 'register',
};

/** Creates the handler of a resource. It checks the method, the access and the host name, and then calls the method's handler. */
export function guardResource(
  { access, acceptsPeers, createMethods, onRefused }: ApiResource,
  { parts, tokens, hosts }: GuardOptions,
): RequestHandler {
  const methods = createMethods(parts.whole);
  const scopedMethods = new WeakMap<RegistryPart, ResourceMethods>();
  const getMethods = (scope: Scope): ResourceMethods => {
    const part = parts.get(scope);
    const scoped = scopedMethods.get(part) ?? createMethods(part);
    scopedMethods.set(part, scoped);
    return scoped;
  };
  const needed = TOKEN_ACCESS[access];
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
    const peerDecision = acceptsPeers ? authorizePeer(request, tokens) : undefined;
    const decision = peerDecision ?? (needed ? authorizeRequest(needed, request, tokens) : OPEN_ACCESS);
    const isDataOpen = access === 'page' ? !needsToken('read', tokens) : decision === OPEN_ACCESS;
    const problem = hosts.findProblem(request, isDataOpen && access !== 'open');
    if (problem) {
      onRefused?.(request, { code: problem.status === 400 ? 'usage' : 'permission_denied', reason: problem.detail });
      return sendJson(response, problem.status, serializeErrorDetail(problem.detail));
    }
    if (decision.kind === 'granted') {
      const { prefixes, scope } = decision;
      if (scope === WHOLE_REGISTRY) return handler(request, response, next, prefixes);
      if (access === 'whole') return sendLimited(response, scope);
      return getMethods(scope)[method]?.(request, response, next, prefixes);
    }
    onRefused?.(request, { code: 'unauthenticated', reason: decision.detail });
    sendError(response, 'unauthenticated', decision.detail, { 'www-authenticate': 'Bearer' });
  };
}

function sendLimited(response: Response, scope: Scope): void {
  const detail = `this token is limited to capability objects with ${formatScope(scope)}, and this resource is about all replicas`;
  sendError(response, 'permission_denied', detail);
}
