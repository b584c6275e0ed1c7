import type { ServerResponse } from 'node:http';

/** Headers of a refusal that passes with time: somebody leaves, or another server is there. */
export const RETRY_LATER_HEADERS = { 'retry-after': '5' };

type Headers = Readonly<Record<string, string>>;

/** Sends an answer that is made already, to as many requests as have the same. */
export type JsonResponse = (response: ServerResponse) => void;

/**
 * The headers of a JSON response of this many bytes, as one flat list, which Node writes as it is. Every response describes
 * one moment of the registry, so no cache on the way may keep it.
 */
export function createJsonHeaders(length: number, headers: Headers = {}): string[] {
  return Object.entries({
    ...headers,
    'content-length': String(length),
    'content-type': 'application/json',
    'cache-control': 'no-store',
  }).flat();
}

/** An answer of a JSON text as it stands: express's own `json` would add a charset that the original does not send. */
export function createJsonResponse(status: number, body: string, headers: Headers = {}): JsonResponse {
  const fields = createJsonHeaders(Buffer.byteLength(body), headers);
  return (response) => void response.writeHead(status, fields).end(body);
}

/** Answers with a {@link createJsonResponse} that this request alone has. */
export function sendJson(response: ServerResponse, status: number, body: string, headers?: Headers): void {
  createJsonResponse(status, body, headers)(response);
}
