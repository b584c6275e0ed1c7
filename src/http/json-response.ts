import type { ServerResponse } from 'node:http';

/** Headers of a temporary refusal, for example because too many replicas are registered. Retry after 5 s. */
export const RETRY_LATER_HEADERS = { 'retry-after': '5' };

type Headers = Readonly<Record<string, string>>;

/** Sends a response that was created in advance. Can be called for any number of requests. */
export type JsonResponse = (response: ServerResponse) => void;

/**
 * Creates the headers of a JSON response, as the flat list that Node writes without conversion. `no-store` because
 * every response describes the registry at one instant.
 */
export function createJsonHeaders(length: number, headers: Headers = {}): string[] {
  return Object.entries({
    ...headers,
    'content-length': String(length),
    'content-type': 'application/json',
    'cache-control': 'no-store',
  }).flat();
}

/**
 * Sends a response with a text as its body. `headers` has names and values in turn, with the length of the body.
 *
 * Node sends the head and a text with one `write` if both are written before `end`. If `end` sends them, Node adds an empty buffer and
 * uses `writev`, which takes 9 % of the processor time of a `/route` request.
 */
export function sendText(
  response: ServerResponse,
  status: number,
  headers: string[],
  body: string,
  encoding: 'utf8' | 'latin1' = 'utf8',
): void {
  response.writeHead(status, headers);
  response.cork();
  response.write(body, encoding);
  response.uncork();
  response.end();
}

/**
 * Creates a response from a JSON text. Used instead of express's `json`, which adds a charset that the Python server
 * does not send.
 */
export function createJsonResponse(status: number, body: string, headers: Headers = {}): JsonResponse {
  const fields = createJsonHeaders(Buffer.byteLength(body), headers);
  return (response) => sendText(response, status, fields, body);
}

/** Sends a JSON response to one request. */
export function sendJson(response: ServerResponse, status: number, body: string, headers?: Headers): void {
  createJsonResponse(status, body, headers)(response);
}
