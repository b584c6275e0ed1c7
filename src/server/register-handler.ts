import type { RequestHandler, Response } from 'express';
import { httpStatusOf, messageOf } from '../core/errors.js';
import type { Clock, Log } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import { registeredEvent, supersededEvent } from '../wire/lease-events.js';
import {
  faultsText,
  MAX_REGISTRATION_BYTES,
  notAnObject,
  oversizedFaults,
  parseRegistration,
} from '../wire/registration.js';
import { sendFailure, sendJson } from './answer.js';
import { createLeaseStream } from './lease-stream.js';
import { readBody } from './request-body.js';

/** What the register handler needs. */
export interface RegisterHandlerOptions {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  readonly heartbeatMs: number;
}

/** `POST /register`: grants a lease that lasts as long as the connection. */
export function registerHandler(options: RegisterHandlerOptions): RequestHandler {
  return async (request, response) => {
    const body = await readBody(request, MAX_REGISTRATION_BYTES);
    switch (body.kind) {
      case 'aborted':
        return;
      case 'not_utf8':
        return sendFailure(response, 'usage', 'There was an error parsing the body');
      case 'too_large':
        return refuseOversized(response, body.beginning);
      case 'text': {
        const isJson = body.text === '' || isJsonContent(request.headers['content-type']);
        const outcome = isJson ? parseRegistration(body.text) : notAnObject(body.text);
        if (outcome.kind === 'registration') return grantLease(response, outcome.replica, options);
        return sendJson(response, httpStatusOf('unprocessable'), faultsText(outcome.faults));
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
  replica: Replica,
  { registry, clock, log, heartbeatMs }: RegisterHandlerOptions,
): Promise<void> {
  const stream = createLeaseStream(response, {
    clock,
    heartbeatMs,
    onGone: () => {
      granted
        .then((lease) => registry.release(lease, 'closed'))
        .catch((error) => log.warn(`cannot remove ${JSON.stringify(replica.id)}: ${messageOf(error)}`));
    },
  });
  const granted = registry.register(replica, (end) => {
    stream.end(end === 'superseded' ? supersededEvent(replica.id) : undefined);
  });
  await granted;
  stream.open(registeredEvent(replica.id));
}

/** `application/json` and `application/*+json`; a request that does not say is taken at its word's absence. */
function isJsonContent(contentType: string | undefined): boolean {
  if (contentType === undefined) return true;
  return /^application\/(?:[^;\s]*\+)?json\s*(?:;|$)/i.test(contentType.trim());
}
