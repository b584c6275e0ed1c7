import type { Socket } from 'node:net';
import type { Request, RequestHandler, Response } from 'express';

/** Where a connection keeps the answer to the last request that came on it. */
const latest = Symbol('latest');
/** And how many requests wait on it. */
const waiting = Symbol('waiting');

type Turns = Socket & { [latest]?: Response | undefined; [waiting]?: number };

/**
 * Has each request wait until the one before it on its connection is answered, and the answer taken. Node hands on all
 * that one packet holds at once: without this, a packet of 1,700 short requests for the list has so many lists wait in
 * memory for a reader that takes nothing. No more is read from a connection while a request waits on it: they would wait in
 * memory, too.
 */
export function inTurn(): RequestHandler {
  return (request, response, next) => {
    const before = (request.socket as Turns)[latest];
    noteTurn(request, response);
    if (!before || isFirst(response)) return next();
    const socket: Turns = request.socket;
    addWaiting(socket, 1);
    // At the end of each request that it has read Node goes on to read; so this comes after all of the packet.
    process.nextTick(() => socket[waiting] !== 0 && socket.pause());
    before.once('close', () => {
      addWaiting(socket, -1);
      if (socket.destroyed) return;
      if (socket[waiting] === 0) socket.resume();
      next();
    });
  };
}

function addWaiting(socket: Turns, count: 1 | -1): void {
  socket[waiting] = (socket[waiting] ?? 0) + count;
}

/** Whether an answer can be sent at once. To one behind others Node gives no connection until they are answered. */
export function isFirst(response: Response): boolean {
  return response.socket !== null;
}

/** Notes a request that is answered at once: others may wait for it. */
export function noteTurn(request: Request, response: Response): void {
  (request.socket as Turns)[latest] = response;
}

/** Forgets a connection on which no more requests will come; false, and nothing forgotten, when one waits there already. */
export function endTurns(response: Response): boolean {
  const socket: Turns | null = response.socket;
  if (socket?.[latest] !== response) return false;
  socket[latest] = undefined;
  return true;
}
