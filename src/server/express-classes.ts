import { IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Express } from 'express';
import { REGISTRY_HEADER } from '../api/instance-json.js';

/** The classes of a server's requests and responses. */
export interface HttpClasses {
  readonly IncomingMessage: typeof IncomingMessage;
  readonly ServerResponse: typeof ServerResponse;
}

/**
 * Creates request and response classes that already have the prototypes express would set. Replacing the prototypes
 * for each request is most of the cost of express, because V8 then drops its optimizations for the object. With the
 * prototypes in place, the replacement does nothing. The app remains an ordinary express app. Every response has the header
 * that names the registry.
 */
export function createHttpClasses(app: Express, getRegistryId: () => string): HttpClasses {
  class Request extends IncomingMessage {}
  class Response<T extends IncomingMessage = IncomingMessage> extends ServerResponse<T> {
    override writeHead(status: number, reason?: unknown, headers?: unknown): this {
      const list = headers ?? reason;
      if (!Array.isArray(list)) {
        this.setHeader(REGISTRY_HEADER, getRegistryId());
        return super.writeHead(status, reason as string, headers as OutgoingHttpHeaders);
      }
      // A flat list is the form that Node writes fastest. `setHeader` would make it convert the list.
      const complete = list.at(-2) === REGISTRY_HEADER ? list : [...list, REGISTRY_HEADER, getRegistryId()];
      return headers === undefined
        ? super.writeHead(status, complete)
        : super.writeHead(status, reason as string, complete);
    }
  }
  app.request = copyInherited(app.request, Request.prototype, IncomingMessage.prototype);
  app.response = copyInherited(app.response, Response.prototype, ServerResponse.prototype);
  // `locals` is for templates, and the app has none. Otherwise express would create an object for each response.
  app.response.locals = NO_LOCALS;
  return { IncomingMessage: Request, ServerResponse: Response };
}

const NO_LOCALS: Readonly<Record<string, never>> = Object.freeze(Object.create(null));

/** Copies all properties of a prototype, and those it inherits below `base`, to another prototype. Returns the latter. */
function copyInherited<T extends object>(source: T, target: object, base: object): T {
  for (let from: object = source; from !== base; from = Object.getPrototypeOf(from)) {
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(from))) {
      if (!Object.hasOwn(target, name) || name === 'constructor') Object.defineProperty(target, name, descriptor);
    }
  }
  return target as T;
}
