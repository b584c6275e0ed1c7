import type { RequestHandler, Response } from 'express';
import { messageOf } from '../core/errors.js';
import type { Clock, Log } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import type { Replica } from '../core/replica.js';
import { isTooDeep } from '../wire/json.js';
import { registeredEvent, supersededEvent } from '../wire/lease-events.js';
import { faultsText, MAX_REGISTRATION_BYTES, notAnObject, parseRegistration } from '../wire/registration.js';
import { sendDetail, sendJson } from './answer.js';
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
        return sendDetail(response, 400, 'There was an error parsing the body');
      case 'too_large': {
        if (isTooDeep(body.beginning)) break;
        const detail = `a registration has at most ${MAX_REGISTRATION_BYTES} bytes`;
        return sendDetail(response, 413, detail, { connection: 'close' });
      }
      case 'text':
        break;
      default:
        body satisfies never;
    }
    const text = body.kind === 'text' ? body.text : body.beginning;
    const isJson = text === '' || isJsonContent(request.headers['content-type']);
    const outcome = isJson ? parseRegistration(text) : notAnObject(text);
    if (outcome.kind === 'faults') return sendJson(response, 422, faultsText(outcome.faults));
    await grantLease(response, outcome.replica, options);
  };
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
