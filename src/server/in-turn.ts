import type { Socket } from 'node:net';
import type { Request, RequestHandler, Response } from 'express';

/** Where a connection keeps the answer to the last request that came on it. */
const latest = Symbol('latest');

type Turns = Socket & { [latest]?: Response | undefined };

/**
 * Has each request wait until the one before it on its connection is answered, and the answer taken. Node hands on all
 * that one packet holds at once: without this, a packet of 1,700 short requests for the list has so many lists wait in
 * memory for a reader that takes nothing.
 */
export function inTurn(): RequestHandler {
  return (request, response, next) => {
    const before = (request.socket as Turns)[latest];
    noteTurn(request, response);
    if (!before || isFirst(response)) return next();
    before.once('close', () => {
      if (!request.socket.destroyed) next();
    });
  };
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
