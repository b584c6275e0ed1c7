import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { serializeErrorDetail } from '../api/api-responses.js';
import { carriesLease } from './lease-stream.js';

/** What the HTTP parser can find wrong with a request, by its code; every other fault of it is a 400 without more. */
const ANSWERS: Readonly<Record<string, readonly [status: string, detail: string]>> = {
  HPE_INVALID_URL: ['400 Bad Request', 'the request target has bytes outside of ASCII; write them as %XX'],
  HPE_HEADER_OVERFLOW: ['431 Request Header Fields Too Large', 'the request line and headers have more than 16 KiB'],
  ERR_HTTP_REQUEST_TIMEOUT: ['408 Request Timeout', 'the request did not arrive in time'],
};

/** Answers what is no HTTP request, where there is still somebody to answer, and closes the connection. */
export function respondToParseError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (carriesLease(socket)) return;
  // Where there is no TLS yet, there is nothing that the other end could read.
  const isUnread = socket instanceof TLSSocket && socket.getSession() === undefined;
  if (error.code === 'ECONNRESET' || !socket.writable || isUnread) return void socket.destroy();
  const [status, detail] = ANSWERS[error.code ?? ''] ?? ['400 Bad Request', 'Invalid HTTP request received.'];
  const body = serializeErrorDetail(detail);
  const head = `HTTP/1.1 ${status}\r\nConnection: close\r\ncontent-length: ${body.length}\r\ncontent-type: application/json`;
  socket.end(`${head}\r\n\r\n${body}`, () => socket.destroy());
}
