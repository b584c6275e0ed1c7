import type { Response } from 'express';
import { AnyserveError, httpStatusOf, messageOf } from '../core/errors.js';
import { endpointWarning } from '../core/loopback.js';
import type { Clock, Log } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { LEASE_HEADER } from '../wire/lease.js';
import { registeredEvent, supersededEvent } from '../wire/lease-events.js';
import {
  faultsText,
  MAX_REGISTRATION_BYTES,
  notAnObject,
  oversizedFaults,
  parseRegistration,
  type Registering,
} from '../wire/registration.js';
import { answerNoRoom, sendFailure, sendJson, TRY_LATER } from './answer.js';
import { type GrantedHandler, refusalOfId } from './authorization.js';
import type { BodyMemory } from './body-memory.js';
import { createHeartbeats, type Heartbeats } from './heartbeats.js';
import { isOfOtherOrigin } from './host-check.js';
import { createLeaseStream } from './lease-stream.js';
import { warnOfLists } from './list-values.js';
import type { Readiness } from './readiness.js';
import { readBody } from './request-body.js';
import type { UnacknowledgedWatch } from './unacknowledged.js';

/** What the register handler needs. */
export interface RegisterHandlerOptions {
  readonly registry: Registry;
  readonly unacknowledged: Pick<UnacknowledgedWatch, 'watch'>;
  readonly readiness: Readiness;
  readonly clock: Clock;
  readonly log: Log;
  readonly heartbeatMs: number;
  readonly bodies: BodyMemory;
}

/** `POST /register`: grants a lease that lasts as long as the connection. */
export function registerHandler(options: RegisterHandlerOptions): GrantedHandler {
  const heartbeats = createHeartbeats({ clock: options.clock, everyMs: options.heartbeatMs });
  return async (request, response, _next, prefixes) => {
    if (isOfOtherOrigin(request)) {
      return sendFailure(response, 'permission_denied', 'web pages of other origins cannot register');
    }
    const body = await readBody(request, response, MAX_REGISTRATION_BYTES, options.bodies);
    switch (body.kind) {
      case 'aborted':
        return;
      case 'not_utf8':
        return sendFailure(response, 'usage', 'There was an error parsing the body');
      case 'too_large':
        return refuseOversized(response, body.beginning);
      case 'no_room':
        return answerNoRoom(response);
      case 'text': {
        const isJson = body.text === '' || isJsonContent(request.headers['content-type']);
        const outcome = isJson ? parseRegistration(body.text) : notAnObject(body.text);
        if (outcome.kind === 'faults')
          return sendJson(response, httpStatusOf('unprocessable'), faultsText(outcome.faults));
        const refusal = refusalOfId(prefixes, outcome.replica.id);
        if (refusal !== undefined) return sendFailure(response, 'permission_denied', refusal);
        options.bodies.release(response);
        return grantLease(response, outcome, { ...options, heartbeats });
      }
      default:
        body satisfies never;
    }
  };
}

function refuseOversized(response: Response, beginning: string): void {
  const faults = oversizedFaults(beginning);
  const detail = `a registration has at most ${MAX_REGISTRATION_BYTES} bytes`;
  if (faults) sendJson(response, httpStatusOf('unprocessable'), faultsText(faults));
  else sendFailure(response, 'too_large', detail, { connection: 'close' });
}

async function grantLease(
  response: Response,
  { replica, ttlMs, state }: Registering,
  {
    registry,
    unacknowledged,
    readiness,
    log,
    heartbeats,
  }: RegisterHandlerOptions & { readonly heartbeats: Heartbeats },
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
  if (refusal) return sendFailure(response, refusal.code, refusal.message, { ...TRY_LATER, connection: 'close' });
  const warning = endpointWarning(replica.endpoint, host);
  if (warning !== undefined) {
    log.warn(`${host} registers ${JSON.stringify(replica.id)} at ${JSON.stringify(replica.endpoint)}: ${warning}`);
  }
  warnOfLists(replica, log);
  const stream = createLeaseStream(response, heartbeats);
  const granted = registry.register(replica, { host, ttlMs, state }, (end) => {
    if (end === 'unacknowledged') stream.cut();
    else stream.end(end === 'superseded' ? supersededEvent(replica.id) : undefined);
  });
  let unwatch = (): void => {};
  // After `granted`, which the listener uses: it is called at once if the connection has closed already.
  stream.onGone(() => {
    unwatch();
    granted
      .then((lease) => registry.release(lease, 'closed'))
      .catch((error) => log.warn(`cannot remove ${JSON.stringify(replica.id)}: ${messageOf(error)}`));
  });
  const lease = await granted;
  unwatch = unacknowledged.watch({ lease, host, socket });
  stream.open(registeredEvent(replica.id), ttlMs === undefined ? {} : { [LEASE_HEADER]: lease });
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
