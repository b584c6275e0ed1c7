import type { IncomingMessage } from 'node:http';
import { createRequestError, type OpenaiError } from '../client/http-calls/openai-error.js';
import { isStatefulPath } from './call-paths.js';

/** The error for a request without a key that the gateway knows. */
export const UNKNOWN_KEY: OpenaiError = {
  status: 401,
  message: 'this gateway needs a key that it knows: send Authorization: Bearer KEY',
  type: 'authentication_error',
  code: 'invalid_api_key',
  headers: { 'www-authenticate': 'Bearer' },
};

/** The error for a second type. An engine could read the body as the other type, with another model in it. */
export const REPEATED_TYPE = createRequestError('the request has more than one content-type header');

/** Creates the error for a path that is not forwarded. */
export function createPathError(path: string): OpenaiError {
  if (isStatefulPath(path)) {
    const message = 'this request is about something that one engine keeps, and the gateway does not know which one';
    return createRequestError(`${message}; call that engine directly`);
  }
  return createRequestError(`the gateway does not forward ${path.slice(0, 200)}; see --allow-path`, {
    status: 404,
    code: 'unknown_path',
  });
}

/** Creates the error for a method that a path does not have. */
export function createMethodError({ method }: IncomingMessage, methods: readonly string[]): OpenaiError {
  const error = createRequestError(`${method} is not supported here; use ${methods[0]}`, { status: 405 });
  return { ...error, headers: { allow: methods.join(', ') } };
}

/** Creates the error for a compressed body. */
export function createEncodingError(encoding: string): OpenaiError {
  return createRequestError(
    `a request body encoded with ${encoding.slice(0, 100)} is not supported; send it as it is`,
    { status: 415 },
  );
}
