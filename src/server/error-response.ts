import type { ServerResponse } from 'node:http';
import { REFUSAL_HEADER, serializeErrorDetail } from '../api/api-responses.js';
import { type ErrorCode, toHttpStatus } from '../core/errors.js';
import { createJsonResponse, type JsonResponse, RETRY_LATER_HEADERS } from '../http/json-response.js';

type Headers = Readonly<Record<string, string>>;

/** An answer that is a failure: what went wrong in a few words, under the status that stands for its code. */
export function createErrorResponse(code: ErrorCode, detail: string, headers?: Headers): JsonResponse {
  const isAboutAccess = code === 'unauthenticated' || code === 'permission_denied';
  const own = isAboutAccess ? { ...headers, [REFUSAL_HEADER]: code } : headers;
  return createJsonResponse(toHttpStatus(code), serializeErrorDetail(detail), own);
}

/** Answers with a {@link createErrorResponse} that this request alone has. */
export function sendError(response: ServerResponse, code: ErrorCode, detail: string, headers?: Headers): void {
  createErrorResponse(code, detail, headers)(response);
}

/** Refuses a large body while others hold all the memory for such. */
export const sendBodyMemoryFull = createErrorResponse('unavailable', 'other large requests are being read; try again', {
  ...RETRY_LATER_HEADERS,
  connection: 'close',
});
