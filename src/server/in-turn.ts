import type { Socket } from 'node:net';
import type { Request, RequestHandler, Response } from 'express';

/** The order of the requests on each connection. */
export interface Turns {
  /** Notes a request that is answered at once, and which others may wait for. */
  note(request: Request, response: Response): void;
  /** Has each request wait until the one before it on its connection is answered, and the answer taken. */
  readonly inTurn: RequestHandler;
}

/**
 * Node hands on all requests that one packet holds at once. If they were not taken in turn, a packet of 1,700 short
 * requests for the list would have so many lists wait in memory for a reader that takes nothing.
 */
export function createTurns(): Turns {
  const latest = new WeakMap<Socket, Response>();
  return {
    note: ({ socket }, response) => void latest.set(socket, response),
    inTurn(request, response, next) {
      const { socket } = request;
      const before = latest.get(socket);
      latest.set(socket, response);
      // A request that came behind another has no connection to answer on yet.
      if (!before || response.socket) return next();
      before.once('close', () => {
        if (!socket.destroyed) next();
      });
    },
  };
}
