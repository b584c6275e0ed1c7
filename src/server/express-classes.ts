import { IncomingMessage, ServerResponse } from 'node:http';
import type { Express } from 'express';

/** The classes that a server makes its requests and responses of. */
export interface HttpClasses {
  readonly IncomingMessage: typeof IncomingMessage;
  readonly ServerResponse: typeof ServerResponse;
}

/**
 * Classes whose requests and responses are already what express turns each into. It swaps the prototype of both, which
 * costs most of what express costs, because the engine gives up what it knows of an object whose prototype changes.
 * Where the prototype is the same already, the swap does nothing; the app stays an ordinary one.
 */
export function createHttpClasses(app: Express): HttpClasses {
  class Request extends IncomingMessage {}
  class Response<T extends IncomingMessage = IncomingMessage> extends ServerResponse<T> {}
  app.request = adopted(Request.prototype, app.request, IncomingMessage.prototype);
  app.response = adopted(Response.prototype, app.response, ServerResponse.prototype);
  // For templates, which the app has none of: express would make each response a dictionary of its own.
  app.response.locals = NO_LOCALS;
  return { IncomingMessage: Request, ServerResponse: Response };
}

const NO_LOCALS: Readonly<Record<string, never>> = Object.freeze(Object.create(null));

/** Gives a prototype all that another has of its own, and from those between it and the base they share. */
function adopted<T extends object>(prototype: object, other: T, base: object): T {
  for (let from: object = other; from !== base; from = Object.getPrototypeOf(from)) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(from))) {
      if (!Object.hasOwn(prototype, name) || name === 'constructor') Object.defineProperty(prototype, name, descriptor);
    }
  }
  return prototype as T;
}
