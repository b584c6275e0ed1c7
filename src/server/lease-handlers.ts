import type { Request, RequestHandler } from 'express';
import { parseRenewal, withCapabilities } from '../api/lease-renewal.js';
import { MAX_REGISTRATION_BYTES, serializeValidationIssues } from '../api/registration.js';
import { AnyserveError, toHttpStatus } from '../core/errors.js';
import { asLeaseId, type LeaseId } from '../core/ids.js';
import type { Events, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import type { BodyMemory } from '../http/body-memory.js';
import { createJsonResponse, RETRY_LATER_HEADERS, sendJson } from '../http/json-response.js';
import { readRequestBody } from '../http/request-body.js';
import { parseTarget } from '../http/request-head.js';
import { createErrorResponse, sendBodyMemoryFull, sendError } from './error-response.js';
import { reportListValues } from './list-value-warning.js';

/** `PUT /leases/{lease}`: renews a lease, and applies the state and the capabilities that its replica reports. */
export function createRenewHandler(
  registry: Registry,
  events: Events<ServerEvent>,
  bodies: BodyMemory,
): RequestHandler {
  return async (request, response) => {
    const body = await readRequestBody(request, response, MAX_REGISTRATION_BYTES, bodies);
    switch (body.kind) {
      case 'aborted':
        return;
      case 'no_room':
        return sendBodyMemoryFull(response);
      case 'not_utf8':
        return sendError(response, 'usage', 'There was an error parsing the body');
      case 'too_large':
        return sendError(response, 'too_large', `a renewal has at most ${MAX_REGISTRATION_BYTES} bytes`, {
          connection: 'close',
        });
      case 'text':
        break;
      default:
        body satisfies never;
    }
    const outcome = parseRenewal(body.text);
    if (outcome.kind === 'invalid') {
      return sendJson(response, toHttpStatus('unprocessable'), serializeValidationIssues(outcome.issues));
    }
    const { state, capabilities } = outcome;
    const offer =
      capabilities &&
      ((present: Replica): Replica => {
        reportListValues({ id: present.id, capabilities }, events);
        return withCapabilities(present, capabilities);
      });
    const renewal = await registry.renew(leaseOf(request), state, offer);
    if (renewal instanceof AnyserveError)
      return sendError(response, renewal.code, renewal.message, RETRY_LATER_HEADERS);
    switch (renewal) {
      case 'renewed':
        return answerRenewed(response);
      case 'superseded':
        return answerSuperseded(response);
      case 'too_soon':
        return capabilities ? answerTooSoon(response) : answerNotReadyYet(response);
      case 'unknown':
        return answerUnknown(response);
      default:
        renewal satisfies never;
    }
  };
}

/** `DELETE /leases/{lease}`: gives a lease back, and its replica is out of the list. */
export function createReleaseHandler(registry: Registry): RequestHandler {
  return async (request, response) => {
    if (await registry.release(leaseOf(request), 'released')) answerReleased(response);
    else answerUnknown(response);
  };
}

const answerRenewed = createJsonResponse(200, '{"status":"renewed"}');
const answerReleased = createJsonResponse(200, '{"status":"released"}');
const answerSuperseded = createErrorResponse('already_exists', 'a newer registration has taken the id of this lease');
const answerTooSoon = createErrorResponse(
  'resource_exhausted',
  'a lease changes its capabilities at most once a second',
  {
    'retry-after': '1',
  },
);
const answerNotReadyYet = createErrorResponse(
  'resource_exhausted',
  'a replica with many capabilities becomes ready less often',
  {
    'retry-after': '1',
  },
);
const answerUnknown = createErrorResponse('not_found', 'no such lease; it has ended, or another server granted it');

/** The path of a lease, as express matches it. It has no group, because express would decode it. */
export const LEASE_PATH = /^\/leases\/[^/]+$/;

const LEASE_TARGET = /^\/leases\/[^/?]+(?:\?|$)/;

/** Whether a request target names a lease: `/leases/f81d4fae`, with or without a query. */
export function isLeaseTarget(target: string): boolean {
  return LEASE_TARGET.test(target);
}

/** Throws `URIError` for a name that is no text, such as `%zz`. */
function leaseOf(request: Request): LeaseId {
  return asLeaseId(decodeURIComponent(parseTarget(request.url).path.slice('/leases/'.length)));
}
