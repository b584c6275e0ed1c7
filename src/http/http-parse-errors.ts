import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';

/** Responses by the error code of the HTTP parser. All other parse errors get a 400 without an explanation. */
const RESPONSES: Readonly<Record<string, readonly [status: string, detail: string]>> = {
  HPE_INVALID_URL: ['400 Bad Request', 'the request target has non-ASCII bytes; percent-encode them as %XX'],
  HPE_HEADER_OVERFLOW: [
    '431 Request Header Fields Too Large',
    'the request line and the headers are larger than 16 KiB together',
  ],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request did not arrive in time'],
};

/**
 * Responds to a request that isn't valid HTTP, if the client can still read a response, and closes the connection.
 * `formatError` returns the JSON body for an explanation.
 */
export function respondToParseError(
  error: NodeJS.ErrnoException,
  socket: Duplex,
  formatError: (detail: string) => string,
): void {
  // Before the TLS handshake is complete, the client can't read a response.
  const isBeforeHandshake = socket instanceof TLSSocket && socket.getSession() === undefined;
  if (error.code === 'ECONNRESET' || !socket.writable || isBeforeHandshake) return void socket.destroy();
  const [status, detail] = RESPONSES[error.code ?? ''] ?? ['400 Bad Request', 'Invalid HTTP request received.'];
  const body = formatError(detail);
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\ncontent-length: ${body.length}\r\ncontent-type: application/json`;
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy());
}
