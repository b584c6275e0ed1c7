import type { RequestHandler } from 'express';
import { toHttpStatus } from '../core/errors.js';
import { sendJson } from '../http/json-response.js';
import type { Readiness } from './readiness.js';

/** `GET /livez`: that this process answers. */
export const handleLivez: RequestHandler = (_request, response) => sendJson(response, 200, '{"status":"alive"}');

/** `GET /readyz`: whether registrations are taken, and why not. */
export function createReadyzHandler(readiness: Readiness): RequestHandler {
  return (_request, response) => {
    const reasons = readiness.reasons();
    if (reasons.length === 0) return sendJson(response, 200, '{"status":"ready"}');
    sendJson(response, toHttpStatus('unavailable'), JSON.stringify({ status: 'unready', reasons }));
  };
}
