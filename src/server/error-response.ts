import type { ServerResponse } from 'node:http';
import { REFUSAL_HEADER, serializeErrorDetail } from '../api/api-responses.js';
import { type ErrorCode, toHttpStatus } from '../core/errors.js';
import { createJsonResponse, type JsonResponse, RETRY_LATER_HEADERS } from '../http/json-response.js';

type Headers = Readonly<Record<string, string>>;

/** Creates an error response: the status of the error code, and a body with the detail. */
export function createErrorResponse(code: ErrorCode, detail: string, headers?: Headers): JsonResponse {
  const isAboutAccess = code === 'unauthenticated' || code === 'permission_denied';
  const allHeaders = isAboutAccess ? { ...headers, [REFUSAL_HEADER]: code } : headers;
  return createJsonResponse(toHttpStatus(code), serializeErrorDetail(detail), allHeaders);
}

/** Sends an error response that isn't reused. See {@link createErrorResponse}. */
export function sendError(response: ServerResponse, code: ErrorCode, detail: string, headers?: Headers): void {
  createErrorResponse(code, detail, headers)(response);
}

/** Detail of the response to a large request body without room. */
export const BODY_MEMORY_FULL = 'too many large request bodies are being read; try again';

/** Refuses a large request body while other large bodies hold all the memory reserved for them. */
export const sendBodyMemoryFull = createErrorResponse('unavailable', BODY_MEMORY_FULL, {
  ...RETRY_LATER_HEADERS,
  connection: 'close',
});
