import type { Response } from 'express';
import { type ErrorCode, httpStatusOf } from '../core/errors.js';
import { detailText, REFUSAL_HEADER } from '../wire/answers.js';

/** Headers of a refusal that passes with time: somebody leaves, or another server is there. */
export const TRY_LATER = { 'retry-after': '5' };

type Headers = Readonly<Record<string, string>>;

/** Sends an answer that is made already, to as many requests as have the same. */
export type Answer = (response: Response) => void;

/**
 * The headers of a JSON response of this many bytes, as one flat list, which Node writes as it is. Every response describes
 * one moment of the registry, so no cache on the way may keep it.
 */
export function jsonHeaders(length: number, headers: Headers = {}): string[] {
  return Object.entries({
    ...headers,
    'content-length': String(length),
    'content-type': 'application/json',
    'cache-control': 'no-store',
  }).flat();
}

/** An answer of a JSON text as it stands: express's own `json` would add a charset that the original does not send. */
export function jsonAnswer(status: number, body: string, headers: Headers = {}): Answer {
  const fields = jsonHeaders(Buffer.byteLength(body), headers);
  return (response) => void response.writeHead(status, fields).end(body);
}

/** An answer that is a failure: what went wrong in a few words, under the status that stands for its code. */
export function failureAnswer(code: ErrorCode, detail: string, headers?: Headers): Answer {
  const isAboutAccess = code === 'unauthenticated' || code === 'permission_denied';
  const own = isAboutAccess ? { ...headers, [REFUSAL_HEADER]: code } : headers;
  return jsonAnswer(httpStatusOf(code), detailText(detail), own);
}

/** Answers with a {@link jsonAnswer} that this request alone has. */
export function sendJson(response: Response, status: number, body: string, headers?: Headers): void {
  jsonAnswer(status, body, headers)(response);
}

/** Answers with a {@link failureAnswer} that this request alone has. */
export function sendFailure(response: Response, code: ErrorCode, detail: string, headers?: Headers): void {
  failureAnswer(code, detail, headers)(response);
}

/** Refuses a large body while others hold all the memory for such. */
export const answerNoRoom = failureAnswer('unavailable', 'other large requests are being read; try again', {
  ...TRY_LATER,
  connection: 'close',
});
