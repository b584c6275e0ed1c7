import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../core/ports.js';

/** Maximum size of an ignored body that is read so that its connection can be used again, in bytes. */
const MAX_SKIPPED_BYTES = 64 * 1024;

/** Maximum size and time of what is read of a body after its connection was closed on this side, in bytes and ms. */
const MAX_LINGER_BYTES = 16 * 1024 * 1024;
const MAX_LINGER_MS = 5000;

/** The responses to clients that wait for 100 Continue, with whether their connections could be used again. */
const waiting = new WeakMap<ServerResponse, boolean>();

/**
 * Records that the client of a request waits for 100 Continue. Unless {@link acceptBody} asks for the body, the connection closes after the
 * response: the next bytes could be the body or another request.
 */
export function waitForAcceptance(response: ServerResponse): void {
  waiting.set(response, response.shouldKeepAlive);
  response.shouldKeepAlive = false;
}

/** Asks for the body of a request, if the client waits for that. Call it before the body is read. */
export function acceptBody(response: ServerResponse): void {
  const keepsAlive = waiting.get(response);
  if (keepsAlive === undefined) return;
  waiting.delete(response);
  response.shouldKeepAlive = keepsAlive;
  response.writeContinue();
}

/**
 * Prepares a response that is sent without reading the body of its request. Call it before the head of the response is written.
 *
 * The connection closes after the response, unless the rest of the body is short. An immediate close would reset the connection of a
 * client that is still sending, and it could lose the response. So this side is closed first, and a part of the body is discarded
 * (RFC 9112, section 9.6; nginx calls this a lingering close).
 */
export function ignoreBody(request: IncomingMessage, response: ServerResponse, clock: Pick<Clock, 'schedule'>): void {
  const { 'content-length': length, 'transfer-encoding': codings } = request.headers;
  if (request.complete || (length === undefined && codings === undefined)) return;
  if (Number(length) <= MAX_SKIPPED_BYTES) return;
  const { socket } = request;
  const closeSocket = socket.destroySoon.bind(socket);
  response.shouldKeepAlive = false;
  let bytes = 0;
  request.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > MAX_LINGER_BYTES) socket.destroy();
  });
  // Node calls this after a response that is the last on its connection.
  socket.destroySoon = () => {
    if (request.complete) return closeSocket();
    socket.end();
    request.once('end', closeSocket);
    socket.once(
      'close',
      clock.schedule(MAX_LINGER_MS, () => socket.destroy(), { background: true }),
    );
  };
}
