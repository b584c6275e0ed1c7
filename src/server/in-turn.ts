import type { Socket } from 'node:net';
import type { RequestHandler, Response } from 'express';

/**
 * Has each request wait until the one before it on its connection is answered, and the answer taken. Node hands on all
 * that one packet holds at once: without this, a packet of 1,700 short requests for the list has so many lists wait in
 * memory for a reader that takes nothing.
 */
export function inTurn(): RequestHandler {
  const latest = new WeakMap<Socket, Response>();
  return (request, response, next) => {
    const { socket } = request;
    const before = latest.get(socket);
    latest.set(socket, response);
    // A request that came behind another has no connection to answer on yet.
    if (!before || response.socket) return next();
    before.once('close', () => {
      if (!socket.destroyed) next();
    });
  };
}
