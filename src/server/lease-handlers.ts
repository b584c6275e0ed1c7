import type { ServerResponse } from 'node:http';
import type { Request, RequestHandler, Response } from 'express';
import { parseRenewal, RENEWED_BODY, serializeRenewed } from '../api/lease-renewal.js';
import { MAX_REGISTRATION_BYTES } from '../api/registration.js';
import type { SerializedReplica } from '../api/serialized-replica.js';
import { serializeValidationIssues } from '../api/validation-issues.js';
import type { Cordon } from '../core/cordon.js';
import { AnyserveError, toHttpStatus } from '../core/errors.js';
import { asLeaseId, type LeaseId } from '../core/ids.js';
import type { RenewalResult } from '../core/lease-renewals.js';
import type { Events, ServerEvent } from '../core/ports.js';
import type { RegistryAccess } from '../core/registry-access.js';
import { findScopeProblem } from '../core/scope.js';
import type { BodyMemory } from '../http/body-memory.js';
import { createJsonResponse, type JsonResponse, RETRY_LATER_HEADERS, sendJson } from '../http/json-response.js';
import { parseTarget } from '../http/request-head.js';
import { createErrorResponse, sendError } from './error-response.js';
import type { EndedLeaseResponses, ForeignLeases } from './foreign-leases.js';
import { type RenewingRegistry, renewLease } from './renew-lease.js';
import { readRequestText } from './request-text.js';

/** Dependencies of the handlers of leases. */
export interface LeaseHandlerOptions {
  readonly registry: RenewingRegistry &
    Pick<RegistryAccess<SerializedReplica>, 'scope' | 'findRenewalRefusal' | 'countRefusedRenewal' | 'release'>;
  readonly events: Events<ServerEvent>;
  readonly bodies: BodyMemory;
  readonly foreignLeases: ForeignLeases;
}

/**
 * Creates the handler of `PUT /leases/{lease}`. It renews the lease, and applies the state, the capabilities and the
 * load that the replica reports.
 */
export function createRenewHandler({ registry, events, bodies, foreignLeases }: LeaseHandlerOptions): RequestHandler {
  const refuse = (refusal: 'superseded' | 'unknown', response: ServerResponse): void => {
    registry.countRefusedRenewal(refusal);
    REFUSAL_RESPONSES[refusal](response);
  };
  const endedResponses: EndedLeaseResponses = {
    superseded: (response) => refuse('superseded', response),
    unknown: (response) => refuse('unknown', response),
  };
  return async (request, response) => {
    const lease = parseLeaseId(request);
    // Checked before the body is read, so that a guessed lease costs no parsing. Node discards the body.
    const isHere = registry.findRenewalRefusal(lease) === undefined;
    const foreign = isHere ? undefined : await foreignLeases.find(request, response, lease, endedResponses);
    // A request that has been aborted meanwhile emits no further event.
    if (request.socket.destroyed || !(isHere || foreign)) return;
    const options = { name: 'renewal', maxBytes: MAX_REGISTRATION_BYTES, bodies };
    const text = await readRequestText(request, response, options);
    if (text === undefined) return;
    const forwarded = { method: 'PUT', lease, body: text } as const;
    // Only the owner knows whether the lease exists, so it also checks the body.
    if (foreign && !foreign.registration) return foreignLeases.forward(response, foreign, forwarded, endedResponses);
    const outcome = parseRenewal(text);
    if (outcome.kind === 'invalid') {
      return sendJson(response, toHttpStatus('unprocessable'), serializeValidationIssues(outcome.issues));
    }
    const scopeProblem = findScopeProblem(registry.scope, outcome.capabilities ?? []);
    if (scopeProblem !== undefined) return sendError(response, 'permission_denied', scopeProblem);
    if (foreign) return foreignLeases.forward(response, foreign, forwarded, endedResponses);
    const renewal = await renewLease(registry, lease, outcome, events);
    if (renewal === 'renewed') sendRenewed(response, registry.cordons.findByLease(lease));
    else sendRefusedRenewal(response, renewal, outcome.capabilities !== undefined);
  };
}

/** Sends the cordon of the replica too, if there ever was one, so that the replica repeats it at other servers. */
function sendRenewed(response: Response, cordon: Cordon | undefined): void {
  if (cordon) sendJson(response, 200, serializeRenewed(cordon));
  else sendRenewedOnly(response);
}

/** A result of a renewal for which the server doesn't send 200. */
type RefusedRenewal = Exclude<RenewalResult, 'renewed'>;

function sendRefusedRenewal(response: Response, renewal: RefusedRenewal, changesCapabilities: boolean): void {
  if (renewal instanceof AnyserveError) sendError(response, renewal.code, renewal.message, RETRY_LATER_HEADERS);
  else if (renewal === 'too_soon' && changesCapabilities) sendCapabilitiesTooSoon(response);
  else REFUSAL_RESPONSES[renewal](response);
}

/** Creates the handler of `DELETE /leases/{lease}`. It ends the lease, so the replica is no longer listed. */
export function createReleaseHandler({
  registry,
  foreignLeases,
}: Pick<LeaseHandlerOptions, 'registry' | 'foreignLeases'>): RequestHandler {
  return async (request, response) => {
    const lease = parseLeaseId(request);
    if (await registry.release(lease, 'released')) return sendReleased(response);
    const foreign = await foreignLeases.find(request, response, lease, RELEASE_REFUSALS);
    if (foreign) await foreignLeases.forward(response, foreign, { method: 'DELETE', lease }, RELEASE_REFUSALS);
  };
}

const sendRenewedOnly = createJsonResponse(200, RENEWED_BODY);
const sendReleased = createJsonResponse(200, '{"status":"released"}');
const sendSuperseded = createErrorResponse('already_exists', 'a newer registration has taken the id of this lease');
const sendCapabilitiesTooSoon = createErrorResponse(
  'resource_exhausted',
  'a lease can change its capabilities at most once per second',
  {
    'retry-after': '1',
  },
);
const sendReadyTooSoon = createErrorResponse(
  'resource_exhausted',
  'a replica with many capabilities cannot become ready again so soon',
  {
    'retry-after': '1',
  },
);
const sendUnknownLease = createErrorResponse(
  'not_found',
  'unknown lease: it has ended, or another API server granted it',
);

const REFUSAL_RESPONSES: Readonly<Record<Exclude<RefusedRenewal, AnyserveError>, JsonResponse>> = {
  superseded: sendSuperseded,
  too_soon: sendReadyTooSoon,
  unknown: sendUnknownLease,
};

/** A superseded lease has ended, like any other that can't be released. */
const RELEASE_REFUSALS = { superseded: sendUnknownLease, unknown: sendUnknownLease };

/** The path of a lease, for express. It has no group, because express would decode the group. */
export const LEASE_PATH = /^\/leases\/[^/]+$/;

const LEASE_TARGET = /^\/leases\/[^/?]+(?:\?|$)/;

/** Returns whether a request target is the path of a lease: `/leases/f81d4fae`, with or without a query string. */
export function isLeaseTarget(target: string): boolean {
  return LEASE_TARGET.test(target);
}

/** Returns the lease id in the path. Throws `URIError` if it can't be decoded, as in `%zz`. */
function parseLeaseId(request: Request): LeaseId {
  return asLeaseId(decodeURIComponent(parseTarget(request.url).path.slice('/leases/'.length)));
}
