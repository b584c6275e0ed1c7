import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Where a connection keeps how many requests wait on it. */
const waiting = Symbol('waiting');

type Turns = Socket & { [waiting]?: number };

/**
 * Has each request wait until the one before it on its connection is answered, and the answer taken. Node hands on all
 * that one packet holds at once: without this, a packet of 1,700 short requests for the list has so many lists wait in
 * memory for a reader that takes nothing. No more is read from a connection while a request waits on it: they would wait in
 * memory, too.
 */
export function waitForTurn(request: IncomingMessage, response: ServerResponse, next: () => void): void {
  if (isFirstInPipeline(response)) return void next();
  const socket: Turns = request.socket;
  addWaiting(socket, 1);
  // At the end of each request that it has read Node goes on to read; so this comes after all of the packet.
  process.nextTick(() => socket[waiting] !== 0 && socket.pause());
  // Node gives it the connection when the answer before is taken, and is in the midst of that when it says so.
  response.once('socket', () => process.nextTick(takeTurn));

  function takeTurn(): void {
    addWaiting(socket, -1);
    if (socket.destroyed) return;
    if (socket[waiting] === 0) socket.resume();
    next();
  }
}

function addWaiting(socket: Turns, count: 1 | -1): void {
  socket[waiting] = (socket[waiting] ?? 0) + count;
}

/** Whether an answer can be sent at once. To one behind others Node gives no connection until they are answered. */
export function isFirstInPipeline(response: ServerResponse): boolean {
  return response.socket !== null;
}

/** Whether a request waits on a connection until the one before it is answered. */
export function hasPipelinedRequest(socket: Turns): boolean {
  return (socket[waiting] ?? 0) > 0;
}
