import { AnyserveError } from '../../core/errors.js';
import { createReplicaHeader, filterResponseHeaders } from '../http-calls/forwarded-headers.js';
import type { OpenHttpCall } from '../http-calls/http-caller.js';
import { type OpenaiError, serializeOpenaiError } from '../http-calls/openai-error.js';
import { createBodyStream } from './body-stream.js';
import { decodeContent } from './content-decoding.js';

/** Status line, headers and body of a response. */
interface ResponseParts {
  readonly status: number;
  readonly statusText: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Uint8Array | ReadableStream<Uint8Array> | string;
}

/** Statuses whose responses have no body (Fetch standard, section 2.2.3). `Response` refuses one. */
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/** Creates a response. `url`: the URL that it is from. */
export function createFetchResponse(url: string, { status, statusText, headers, body }: ResponseParts): Response {
  const list = new Headers();
  for (let index = 0; index < headers.length; index += 2)
    list.append(headers[index] as string, headers[index + 1] ?? '');
  const hasBody = !NULL_BODY_STATUSES.has(status);
  const decoded = hasBody ? decodeContent(body, list.get('content-encoding')) : null;
  const response = new Response(decoded, { status, statusText, headers: list });
  // The constructor has no option for it, and a response from the network has its URL.
  return Object.defineProperty(response, 'url', { value: url });
}

/** Creates the response with an error that no replica has sent. */
export function createOpenaiErrorResponse(url: string, error: OpenaiError): Response {
  const headers = ['content-type', 'application/json', ...Object.entries(error.headers ?? {}).flat()];
  return createFetchResponse(url, { status: error.status, statusText: '', headers, body: serializeOpenaiError(error) });
}

/** Creates the response with a replica's response, which can still be arriving. Ends the call when it has arrived. */
export function createReplicaResponse(opened: OpenHttpCall, path: string): Response {
  const { attempt, response: incoming, end } = opened;
  const { status, reason, headers: received } = incoming.head;
  const { endpoint, replicaId } = attempt.target;
  const headers = filterResponseHeaders(received, status);
  headers.push(...createReplicaHeader(replicaId));
  let body: ResponseParts['body'];
  if (incoming.isComplete) {
    body = Buffer.concat(incoming.pieces);
    attempt.succeed();
    end();
  } else body = createBodyStream(opened);
  try {
    return createFetchResponse(endpoint.replace(/\/+$/, '') + path, { status, statusText: reason, headers, body });
  } catch (error) {
    // A status of 600, or a header that `Headers` refuses.
    incoming.fail(new AnyserveError('internal', `${endpoint}: bad response: ${error}`));
    throw error;
  }
}
