import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { waitForResponses } from './pipelining.js';

/** An error of the HTTP parser, or of the connection. */
export interface ParseError extends NodeJS.ErrnoException {
  /** The reason that the parser gives for refusing a byte. */
  readonly reason?: string;
}

type ErrorResponse = readonly [status: string, detail: string];

const DEFAULT_RESPONSE: ErrorResponse = ['400 Bad Request', 'Invalid HTTP request received.'];

/** Responses by the error code of the HTTP parser. All other parse errors get a 400 without an explanation. */
const RESPONSES: Readonly<Record<string, ErrorResponse>> = {
  HPE_INVALID_URL: ['400 Bad Request', 'the request target has non-ASCII bytes; percent-encode them as %XX'],
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    'the request line and the headers are larger than 16 KiB together',
  ],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request did not arrive in time'],
};

/** The parser takes a path without a slash at its start for the scheme of a URL. The last reason is also that for a tab in a path. */
const NO_SLASH_REASON = /^(?:Unexpected start char in url|Unexpected char in url schema|Invalid characters in url)$/;

const NO_SLASH_RESPONSE: ErrorResponse = [
  '400 Bad Request',
  'the request target must start with a slash, and have no control characters',
];

/** Connections on which a response to a parse error is already due. The parser reports an error again with each further byte. */
const failedSockets = new WeakSet<Duplex>();

/**
 * Responds to a request that isn't valid HTTP after the responses to the requests before it on the connection, and closes the
 * connection. See {@link respondToParseError}.
 */
export function respondToParseErrorInTurn(
  error: ParseError,
  socket: Socket,
  formatError: (detail: string) => string,
): void {
  const isRepeated = failedSockets.has(socket);
  failedSockets.add(socket);
  // A client that has closed its side counts as gone, and the calls of its requests are cancelled.
  if (isRepeated && socket.readableEnded) socket.destroy();
  if (!isRepeated) waitForResponses(socket, () => respondToParseError(error, socket, formatError));
}

/**
 * Responds to a request that isn't valid HTTP, if the client can still read a response, and closes the connection.
 * `formatError` returns the JSON body for an explanation.
 */
export function respondToParseError(error: ParseError, socket: Duplex, formatError: (detail: string) => string): void {
  // Before the TLS handshake is complete, the client can't read a response.
  const isBeforeHandshake = socket instanceof TLSSocket && socket.getSession() === undefined;
  if (error.code === 'ECONNRESET' || !socket.writable || isBeforeHandshake) return void socket.destroy();
  const [status, detail] = NO_SLASH_REASON.test(error.reason ?? '')
    ? NO_SLASH_RESPONSE
    : (RESPONSES[error.code ?? ''] ?? DEFAULT_RESPONSE);
  const body = formatError(detail);
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\ncontent-length: ${body.length}\r\ncontent-type: application/json`;
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy());
}
