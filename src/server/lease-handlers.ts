import type { Request, RequestHandler } from 'express';
import { AnyserveError, httpStatusOf } from '../core/errors.js';
import { asLeaseId, type LeaseId } from '../core/ids.js';
import type { Events, ServerEvent } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import { parseRenewal, withCapabilities } from '../wire/lease.js';
import { faultsText, MAX_REGISTRATION_BYTES } from '../wire/registration.js';
import { answerNoRoom, failureAnswer, jsonAnswer, sendFailure, sendJson, TRY_LATER } from './answer.js';
import type { BodyMemory } from './body-memory.js';
import { reportListValues } from './list-values.js';
import { readBody } from './request-body.js';
import { parseTarget } from './request-target.js';

/** `PUT /leases/{lease}`: renews a lease, and applies the state and the capabilities that its replica reports. */
export function renewHandler(registry: Registry, events: Events<ServerEvent>, bodies: BodyMemory): RequestHandler {
  return async (request, response) => {
    const body = await readBody(request, response, MAX_REGISTRATION_BYTES, bodies);
    switch (body.kind) {
      case 'aborted':
        return;
      case 'no_room':
        return answerNoRoom(response);
      case 'not_utf8':
        return sendFailure(response, 'usage', 'There was an error parsing the body');
      case 'too_large':
        return sendFailure(response, 'too_large', `a renewal has at most ${MAX_REGISTRATION_BYTES} bytes`, {
          connection: 'close',
        });
      case 'text':
        break;
      default:
        body satisfies never;
    }
    const outcome = parseRenewal(body.text);
    if (outcome.kind === 'faults') {
      return sendJson(response, httpStatusOf('unprocessable'), faultsText(outcome.faults));
    }
    const { state, capabilities } = outcome;
    const offer =
      capabilities &&
      ((present: Replica): Replica => {
        reportListValues({ id: present.id, capabilities }, events);
        return withCapabilities(present, capabilities);
      });
    const renewal = await registry.renew(leaseOf(request), state, offer);
    if (renewal instanceof AnyserveError) return sendFailure(response, renewal.code, renewal.message, TRY_LATER);
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
export function releaseHandler(registry: Registry): RequestHandler {
  return async (request, response) => {
    if (await registry.release(leaseOf(request), 'released')) answerReleased(response);
    else answerUnknown(response);
  };
}

const answerRenewed = jsonAnswer(200, '{"status":"renewed"}');
const answerReleased = jsonAnswer(200, '{"status":"released"}');
const answerSuperseded = failureAnswer('already_exists', 'a newer registration has taken the id of this lease');
const answerTooSoon = failureAnswer('resource_exhausted', 'a lease changes its capabilities at most once a second', {
  'retry-after': '1',
});
const answerNotReadyYet = failureAnswer(
  'resource_exhausted',
  'a replica with many capabilities becomes ready less often',
  {
    'retry-after': '1',
  },
);
const answerUnknown = failureAnswer('not_found', 'no such lease; it has ended, or another server granted it');

/** The path of a lease, as express matches it. It has no group, because express would decode it. */
export const LEASE_PATH = /^\/leases\/[^/]+$/;

const LEASE_TARGET = /^\/leases\/[^/?]+(?:\?|$)/;

/** Whether a request target names a lease: `/leases/f81d4fae`, with or without a query. */
export function isForLease(target: string): boolean {
  return LEASE_TARGET.test(target);
}

/** Throws `URIError` for a name that is no text, such as `%zz`. */
function leaseOf(request: Request): LeaseId {
  return asLeaseId(decodeURIComponent(parseTarget(request.url).path.slice('/leases/'.length)));
}
