import type { Response } from 'express';
import { formatRegisteredEvent, formatSupersededEvent } from '../api/lease-events.js';
import { LEASE_HEADER } from '../api/lease-renewal.js';
import {
  createNonObjectFailure,
  MAX_REGISTRATION_BYTES,
  parseRegistration,
  type RegistrationRequest,
  serializeValidationIssues,
  type ValidationIssue,
  validateOversizedBody,
} from '../api/registration.js';
import { AnyserveError, type ErrorCode, getErrorMessage, toHttpStatus } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import { getEndpointWarning } from '../core/loopback.js';
import type { Clock, Events, RegistryEvent, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { BodyMemory } from '../http/body-memory.js';
import { isCrossOrigin } from '../http/host-check.js';
import { RETRY_LATER_HEADERS, sendJson } from '../http/json-response.js';
import { readRequestBody } from '../http/request-body.js';
import { type AuthorizedHandler, checkIdPrefix } from './authorization.js';
import type { DeadPeerDetector } from './dead-peer-detector.js';
import { sendBodyMemoryFull, sendError } from './error-response.js';
import { createHeartbeatWheel, type HeartbeatWheel } from './heartbeat-wheel.js';
import { createLeaseStream } from './lease-stream.js';
import { reportListValues } from './list-value-warning.js';
import type { Readiness } from './readiness.js';

/** What the register handler needs. */
export interface RegisterHandlerOptions {
  readonly registry: Registry;
  readonly deadPeers: Pick<DeadPeerDetector, 'watch'>;
  readonly readiness: Readiness;
  readonly clock: Clock;
  readonly events: Events<RegistryEvent | ServerEvent>;
  readonly heartbeatMs: number;
  readonly bodies: BodyMemory;
}

/** `POST /register`: grants a lease that lasts as long as the connection. */
export function createRegisterHandler(options: RegisterHandlerOptions): AuthorizedHandler {
  const heartbeats = createHeartbeatWheel({ clock: options.clock, everyMs: options.heartbeatMs });
  return async (request, response, _next, prefixes) => {
    const refuse = refuserOf(response, options.events);
    if (isCrossOrigin(request)) return refuse('permission_denied', 'web pages of other origins cannot register');
    const body = await readRequestBody(request, response, MAX_REGISTRATION_BYTES, options.bodies);
    switch (body.kind) {
      case 'aborted':
        return;
      case 'not_utf8':
        return refuse('usage', 'There was an error parsing the body');
      case 'too_large':
        return refuseOversized(refuse, body.beginning);
      case 'no_room':
        return sendBodyMemoryFull(response);
      case 'text': {
        const isJson = body.text === '' || isJsonContent(request.headers['content-type']);
        const outcome = isJson ? parseRegistration(body.text) : createNonObjectFailure(body.text);
        if (outcome.kind === 'invalid') return refuse('unprocessable', outcome.issues);
        const { id } = outcome.replica;
        const refusal = checkIdPrefix(prefixes, id);
        if (refusal !== undefined) return refuse('permission_denied', refusal, { id });
        options.bodies.release(response);
        return grantLease(response, outcome, { ...options, heartbeats });
      }
      default:
        body satisfies never;
    }
  };
}

/** Refuses a registration for a reason, or for what is wrong with its body, and reports that. */
type Refuse = (
  code: ErrorCode,
  reason: string | readonly ValidationIssue[],
  more?: { readonly id?: ReplicaId; readonly headers?: Readonly<Record<string, string>> },
) => void;

function refuserOf(response: Response, events: Events<RegistryEvent>): Refuse {
  return (code, reason, { id: replicaId, headers } = {}) => {
    const host = hostOf(response.socket?.remoteAddress);
    const text = typeof reason === 'string' ? reason : (reason[0]?.msg ?? '');
    events.emit({ kind: 'registration_refused', replicaId, host, code, reason: text });
    if (typeof reason === 'string') sendError(response, code, reason, headers);
    else sendJson(response, toHttpStatus(code), serializeValidationIssues(reason));
  };
}

function refuseOversized(refuse: Refuse, beginning: string): void {
  const issues = validateOversizedBody(beginning);
  const detail = `a registration has at most ${MAX_REGISTRATION_BYTES} bytes`;
  if (issues) refuse('unprocessable', issues);
  else refuse('too_large', detail, { headers: { connection: 'close' } });
}

async function grantLease(
  response: Response,
  { replica, ttlMs, state }: RegistrationRequest,
  {
    registry,
    deadPeers,
    readiness,
    events,
    heartbeats,
  }: RegisterHandlerOptions & { readonly heartbeats: HeartbeatWheel },
): Promise<void> {
  const { socket } = response;
  // The client left while its request was read. A lease would end at once, and would first supersede one that lives.
  if (!socket || socket.destroyed) return;
  const host = hostOf(socket.remoteAddress);
  const [unready] = readiness.reasons();
  const refusal =
    unready === undefined
      ? registry.refusal(replica, host)
      : new AnyserveError('unavailable', `this API server takes no registrations now: ${unready}`);
  if (refusal) {
    const { code, message: reason } = refusal;
    events.emit({ kind: 'registration_refused', replicaId: replica.id, host, code, reason });
    return sendError(response, code, reason, { ...RETRY_LATER_HEADERS, connection: 'close' });
  }
  const warning = getEndpointWarning(replica.endpoint, host);
  if (warning !== undefined) {
    events.emit({
      kind: 'unreachable_endpoint',
      replicaId: replica.id,
      endpoint: replica.endpoint,
      host,
      reason: warning,
    });
  }
  reportListValues(replica, events);
  const stream = createLeaseStream(response, heartbeats);
  const granted = registry.register(replica, { host, ttlMs, state }, (end) => {
    if (end === 'unacknowledged') stream.cut();
    else stream.end(end === 'superseded' ? formatSupersededEvent(replica.id) : undefined);
  });
  let unwatch = (): void => {};
  // After `granted`, which the listener uses: it is called at once if the connection has closed already.
  stream.onGone(() => {
    unwatch();
    granted
      .then((lease) => registry.release(lease, 'closed'))
      .catch((error) => events.emit({ kind: 'release_failed', replicaId: replica.id, error: getErrorMessage(error) }));
  });
  const lease = await granted;
  unwatch = deadPeers.watch({ lease, host, socket });
  stream.open(formatRegisteredEvent(replica.id), ttlMs === undefined ? {} : { [LEASE_HEADER]: lease });
}

/** The address of the other end; an IPv4 one that came over an IPv6 socket is the same host. */
function hostOf(address: string | undefined): string {
  return (address ?? 'unknown').replace(/^::ffff:/, '');
}

/** `application/json` and `application/*+json`. Without a content type the body is taken for JSON. */
function isJsonContent(contentType: string | undefined): boolean {
  if (contentType === undefined) return true;
  return /^application\/(?:[^;\s]*\+)?json\s*(?:;|$)/i.test(contentType.trim());
}
