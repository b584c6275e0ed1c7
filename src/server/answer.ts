import type { Response } from 'express';
import { type ErrorCode, httpStatusOf } from '../core/errors.js';
import { detailText } from '../wire/answers.js';

/** Answers with a JSON text as it stands: express's own `json` would add a charset that the original does not send. */
export function sendJson(response: Response, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, {
    ...headers,
    'content-length': Buffer.byteLength(body),
    'content-type': 'application/json',
  });
  response.end(body);
}

/** Answers with a failure: what went wrong in a few words, under the status that stands for its code. */
export function sendFailure(
  response: Response,
  code: ErrorCode,
  detail: string,
  headers?: Record<string, string>,
): void {
  sendJson(response, httpStatusOf(code), detailText(detail), headers);
}
