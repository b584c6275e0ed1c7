import type { IncomingMessage, ServerResponse } from 'node:http';
import type { BodyMemory } from '../http/body-memory.js';
import { readRequestBody } from '../http/request-body.js';
import { sendBodyMemoryFull, sendError } from './error-response.js';

/** Options of {@link readRequestText}. */
export interface RequestTextOptions {
  /** Name of the body in the error message, such as `renewal`. */
  readonly name: string;
  readonly maxBytes: number;
  readonly bodies: BodyMemory;
}

/** Reads a request body. If it can't be read, sends the error response and resolves to undefined. */
export async function readRequestText(
  request: IncomingMessage,
  response: ServerResponse,
  { name, maxBytes, bodies }: RequestTextOptions,
): Promise<string | undefined> {
  const body = await readRequestBody(request, response, maxBytes, bodies);
  switch (body.kind) {
    case 'text':
      return body.text;
    case 'aborted':
      break;
    case 'no_room':
      sendBodyMemoryFull(response);
      break;
    case 'not_utf8':
      sendError(response, 'usage', 'There was an error parsing the body');
      break;
    case 'too_large':
      sendError(response, 'too_large', `the ${name} has more than ${maxBytes} bytes`, { connection: 'close' });
      break;
    default:
      body satisfies never;
  }
  return undefined;
}
