import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Key of a connection's number of waiting requests. */
const waitingRequests = Symbol('waitingRequests');

/**
 * `_httpMessage` and `_paused` are Node's: the response that is sent at present, which Node's own handler of parse errors reads, too, and
 * whether Node has paused the connection until that response is written.
 */
type PipelinedSocket = Socket & {
  [waitingRequests]?: number;
  readonly _httpMessage?: ServerResponse | null;
  _paused?: boolean;
};

/**
 * Delays each request until the response to the previous request on its connection has been read by the client.
 *
 * Node emits all requests of a packet at once. Without this function, a packet with 1,700 short requests for the
 * replica list would keep 1,700 lists in memory for a client that does not read. Reading from the connection pauses
 * while a request waits, because further requests would take memory too.
 */
export function waitForTurn(request: IncomingMessage, response: ServerResponse, next: () => void): void {
  if (isFirstInPipeline(response)) return void next();
  const socket: PipelinedSocket = request.socket;
  addWaiting(socket, 1);
  // Node resumes the socket at the end of each request that it parses, so this must run after the whole packet.
  process.nextTick(() => socket[waitingRequests] !== 0 && socket.pause());
  // Node assigns the socket when the previous response is finished. It emits the event before it has finished, so the next
  // request waits for the next tick.
  response.once('socket', () => process.nextTick(takeTurn));

  function takeTurn(): void {
    addWaiting(socket, -1);
    if (socket.destroyed) return;
    if (socket[waitingRequests] === 0) socket.resume();
    next();
  }
}

/**
 * Undoes a pause of Node on a TLS connection. Call it for each request. Node pauses its parser when a request arrives before it knows
 * that the previous response is written. With TLS, it knows that late, and bytes that are already decrypted still reach the parser,
 * which then fails a valid request (`HPE_PAUSED`). {@link waitForTurn} limits the requests that wait.
 */
export function undoTlsPause(socket: PipelinedSocket): void {
  if (!socket._paused || !('encrypted' in socket)) return;
  socket._paused = false;
  socket.resume();
}

function addWaiting(socket: PipelinedSocket, count: 1 | -1): void {
  socket[waitingRequests] = (socket[waitingRequests] ?? 0) + count;
}

/**
 * Returns whether a response can be sent now. Node assigns no socket to a response while earlier ones are unfinished.
 */
export function isFirstInPipeline(response: ServerResponse): boolean {
  return response.socket !== null;
}

/** Returns whether a request on a connection waits for an earlier response. */
export function hasPipelinedRequest(socket: PipelinedSocket): boolean {
  return (socket[waitingRequests] ?? 0) > 0;
}

/**
 * Calls a function when all responses have been sent that have begun on a connection, or whose requests have arrived completely. Does
 * not call it if the connection closes before that, or with the last response.
 */
export function waitForResponses(socket: PipelinedSocket, next: () => void): void {
  const pending = socket.destroyed ? undefined : socket._httpMessage;
  // A handler that waits for the rest of an incomplete request never responds, because that is not valid.
  if (!pending || !(pending.headersSent || pending.req.complete)) return void next();
  // Node has then assigned the socket to the next response.
  pending.once('close', () => {
    if (socket.writable) waitForResponses(socket, next);
  });
}
