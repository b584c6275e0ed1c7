import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Request, Response } from 'express';
import { formatReplacedHeader, REPLACED_HEADER } from '../api/instance-json.js';
import {
  formatLocalEvent,
  formatRegisteredEvent,
  formatSupersededEvent,
  NOT_RENEWED_EVENT,
  SHARED_EVENT,
} from '../api/lease-events.js';
import { OWNER_HEADER } from '../api/lease-owner.js';
import { LEASE_HEADER } from '../api/lease-renewal.js';
import {
  MAX_REGISTRATION_BYTES,
  parseRegistration,
  type RegistrationRequest,
  validateOversizedBody,
} from '../api/registration.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { createNonObjectFailure, serializeValidationIssues, type ValidationIssue } from '../api/validation-issues.js';
import { getEndpointWarning } from '../core/endpoint.js';
import { AnyserveError, type ErrorCode, getErrorMessage, toHttpStatus } from '../core/errors.js';
import { toHost } from '../core/host.js';
import type { LeaseId, ReplicaId } from '../core/ids.js';
import type { Events, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { RegistryAccess } from '../core/registry-access.js';
import { isSameInstance, type Replica } from '../core/replica.js';
import { findScopeProblem, type Scope } from '../core/scope.js';
import type { BodyMemory } from '../http/body-memory.js';
import { isCrossOrigin } from '../http/host-check.js';
import { RETRY_LATER_HEADERS, sendJson } from '../http/json-response.js';
import { readRequestBody } from '../http/request-body.js';
import { getHeaderValues } from '../http/request-head.js';
import { type AccessTokens, type AuthorizedHandler, authorize, checkIdPrefix } from './authorization.js';
import type { DeadPeerDetector } from './dead-peer-detector.js';
import { BODY_MEMORY_FULL, sendBodyMemoryFull, sendError } from './error-response.js';
import type { HeartbeatWheel } from './heartbeat-wheel.js';
import { canTakeRenewals, createLeaseStream } from './lease-stream.js';
import { reportListValues } from './list-value-warning.js';
import type { Readiness } from './readiness.js';
import { emitRefusal } from './registration-refusals.js';
import { type RenewingRegistry, renewByLine } from './renew-lease.js';

/** Options of the register handler. */
export interface RegisterHandlerOptions {
  readonly registry: RenewingRegistry &
    Pick<RegistryAccess<SerializedReplica>, 'scope' | 'checkRegistration' | 'find' | 'register' | 'release'>;
  /** The tokens that requests need. Default: none. */
  readonly tokens?: AccessTokens | undefined;
  readonly deadPeers: Pick<DeadPeerDetector, 'watch'>;
  readonly readiness: Readiness;
  readonly events: Events<RegistryEvent | ServerEvent>;
  readonly heartbeats: HeartbeatWheel;
  readonly bodies: BodyMemory;
  /** The URL at which this server takes requests for leases. Default: the address to which the registrant has connected. */
  readonly advertisedUrl?: string | undefined;
}

/** Creates the handler of `POST /register`. It grants a lease that lasts as long as the connection. */
export function createRegisterHandler(options: RegisterHandlerOptions): AuthorizedHandler {
  return async (request, response, _next, prefixes) => {
    const { events, registry } = options;
    const { scope } = registry;
    const refuse = createRefuse(request, response, { events, scope });
    if (isCrossOrigin(request))
      return refuse('permission_denied', 'web pages of other origins cannot register replicas');
    const body = await readRequestBody(request, response, MAX_REGISTRATION_BYTES, options.bodies);
    switch (body.kind) {
      case 'aborted':
        return;
      case 'not_utf8':
        return refuse('usage', 'There was an error parsing the body');
      case 'too_large':
        return refuseOversized(refuse, body.beginning);
      case 'no_room':
        emitRefusal(events, request, { code: 'unavailable', reason: BODY_MEMORY_FULL, scope });
        return sendBodyMemoryFull(response);
      case 'text': {
        const isJson = body.text === '' || isJsonContent(request.headers['content-type']);
        const outcome = isJson ? parseRegistration(body.text) : createNonObjectFailure(body.text);
        if (outcome.kind === 'invalid') return refuse('unprocessable', outcome.issues);
        const { id } = outcome.replica;
        const prefixProblem = checkIdPrefix(prefixes, id);
        if (prefixProblem !== undefined) return refuse('permission_denied', prefixProblem, { id });
        const scopeProblem = findScopeProblem(scope, outcome.replica.capabilities);
        if (scopeProblem !== undefined) return refuse('permission_denied', scopeProblem, { id });
        options.bodies.release(response);
        return grantLease(response, outcome, options);
      }
      default:
        body satisfies never;
    }
  };
}

/** Refuses a registration for a reason, or for the validation issues of its body, and emits an event. */
type Refuse = (
  code: ErrorCode,
  reason: string | readonly ValidationIssue[],
  details?: { readonly id?: ReplicaId; readonly headers?: Readonly<Record<string, string>> },
) => void;

function createRefuse(
  request: Request,
  response: Response,
  { events, scope }: { readonly events: Events<RegistryEvent>; readonly scope: Scope },
): Refuse {
  return (code, reason, { id: replicaId, headers } = {}) => {
    const text = typeof reason === 'string' ? reason : (reason[0]?.msg ?? '');
    emitRefusal(events, request, { code, reason: text, replicaId, scope });
    if (typeof reason === 'string') sendError(response, code, reason, headers);
    else sendJson(response, toHttpStatus(code), serializeValidationIssues(reason));
  };
}

function refuseOversized(refuse: Refuse, beginning: string): void {
  const issues = validateOversizedBody(beginning);
  const detail = `the registration has more than ${MAX_REGISTRATION_BYTES} bytes`;
  if (issues) refuse('unprocessable', issues);
  else refuse('too_large', detail, { headers: { connection: 'close' } });
}

async function grantLease(
  response: Response,
  request: RegistrationRequest,
  options: RegisterHandlerOptions,
): Promise<void> {
  const { socket } = response;
  // The client left while its request was read. A lease would end at once, and would first supersede a live one.
  if (!socket || socket.destroyed) return;
  const { replica, ttlMs, state, instance, cordon, weight, load } = request;
  const { registry, deadPeers, events, heartbeats } = options;
  const host = toHost(socket.remoteAddress);
  const refusal = findRefusal(request, host, options);
  if (refusal) return sendRefusal(response, replica.id, refusal, options);
  emitWarnings(replica, host, events);
  const stream = createLeaseStream(response, heartbeats);
  const replaced = registry.find(replica.id)?.registration.instance;
  const onSharing = (problem: string | undefined): void =>
    stream.send(problem === undefined ? SHARED_EVENT : formatLocalEvent(problem));
  const ownerUrl = options.advertisedUrl ?? formatConnectionUrl(socket);
  const terms = { host, ttlMs, state, instance, cordon, weight, load, ownerUrl, onSharing };
  const granted = registry.register(replica, terms, (end, by) => {
    if (end === 'unacknowledged') stream.destroy();
    else stream.end(end === 'superseded' ? formatSupersededEvent(replica.id, by) : undefined);
  });
  let unwatch = (): void => {};
  // Set only after `granted` is assigned: if the connection has already closed, the listener runs at once and uses it.
  stream.onClosed(() => {
    unwatch();
    granted
      .then((lease) => registry.release(lease, 'closed'))
      .catch((error) => {
        if (isRefusal(error)) return;
        events.emit({ kind: 'release_failed', replicaId: replica.id, error: getErrorMessage(error) });
      });
  });
  const lease = await granted.catch((error) => {
    if (!isRefusal(error)) throw error;
    return sendRefusal(response, replica.id, error, options);
  });
  if (lease === undefined) return;
  unwatch = deadPeers.watch({ lease, host, socket });
  const headers = {
    ...(ttlMs !== undefined && { [LEASE_HEADER]: lease }),
    ...(ownerUrl !== undefined && { [OWNER_HEADER]: ownerUrl }),
    ...(replaced && !isSameInstance(replaced, instance) && { [REPLACED_HEADER]: formatReplacedHeader(replaced) }),
  };
  const takesRenewals = ttlMs !== undefined && canTakeRenewals(response.req);
  const renew = takesRenewals ? createLineRenewer(lease, response.req.rawHeaders, options) : undefined;
  stream.open(formatRegisteredEvent(replica.id), headers, renew);
}

/** Returns whether the registry refused a registration because another API server has granted the id to somebody else. */
function isRefusal(error: unknown): error is AnyserveError {
  return error instanceof AnyserveError && error.code === 'permission_denied';
}

function sendRefusal(
  response: Response,
  replicaId: ReplicaId,
  { code, message: reason }: AnyserveError,
  { events, registry: { scope } }: RegisterHandlerOptions,
): undefined {
  const host = toHost(response.socket?.remoteAddress);
  events.emit({ kind: 'registration_refused', replicaId, host, code, reason, scope });
  const isFinal = code === 'already_exists' || code === 'permission_denied';
  sendError(response, code, reason, { ...(!isFinal && RETRY_LATER_HEADERS), connection: 'close' });
}

/** Returns the URL of the address to which a peer has connected. Undefined for an address that is only valid on one link. */
function formatConnectionUrl(socket: Socket): string | undefined {
  const { localAddress, localPort } = socket;
  if (localAddress === undefined || localAddress.includes('%')) return undefined;
  const host = toHost(localAddress);
  return `${socket instanceof TLSSocket ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${localPort}`;
}

/** Creates the handler of renewals on a stream. A token that is no longer accepted can't renew the lease, as in a request. */
function createLineRenewer(
  lease: LeaseId,
  rawHeaders: readonly string[],
  { registry, events, tokens = {} }: RegisterHandlerOptions,
): (line: string) => Promise<string> {
  const authorization = getHeaderValues(rawHeaders, 'authorization');
  return async (line) => {
    const decision = authorize('register', authorization, tokens);
    // The holder of a token whose scope has changed renews the lease with a request, like one whose token is refused.
    if (decision.kind === 'refused' || decision.scope.key !== registry.scope.key) return NOT_RENEWED_EVENT;
    return renewByLine(registry, lease, line, events).catch(() => NOT_RENEWED_EVENT);
  };
}

/** Returns why a registration can't be accepted: the server isn't ready, the registry has no room, or a newer one exists. */
function findRefusal(
  { replica, instance }: RegistrationRequest,
  host: string,
  options: RegisterHandlerOptions,
): AnyserveError | undefined {
  const [reason] = options.readiness.listReasons();
  if (reason === undefined) return options.registry.checkRegistration(replica, { host, instance });
  return new AnyserveError('unavailable', `this API server is not accepting registrations: ${reason}`);
}

/** Emits an event for an endpoint that clients probably can't reach, and for capabilities that no query matches. */
function emitWarnings(replica: Replica, host: string, events: Events<ServerEvent>): void {
  const { id: replicaId, endpoint } = replica;
  const reason = getEndpointWarning(endpoint, host);
  if (reason !== undefined) events.emit({ kind: 'unreachable_endpoint', replicaId, endpoint, host, reason });
  reportListValues(replica, events);
}

/** Returns whether a content type is `application/json` or `application/*+json`. A missing content type counts as JSON. */
function isJsonContent(contentType: string | undefined): boolean {
  if (contentType === undefined) return true;
  return /^application\/(?:[^;\s]*\+)?json\s*(?:;|$)/i.test(contentType.trim());
}
