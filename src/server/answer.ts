import type { Response } from 'express';
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

/** Answers with an error: a status and what went wrong in a few words. */
export function sendDetail(response: Response, status: number, detail: string, headers?: Record<string, string>): void {
  sendJson(response, status, detailText(detail), headers);
}
