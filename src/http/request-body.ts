import type { IncomingMessage, ServerResponse } from 'node:http';
import { ByteCollector } from '../core/byte-collector.js';
import { type BodyMemory, MAX_IMMEDIATE_PARSE_BYTES } from './body-memory.js';

/**
 * The body of a request, the beginning of one over the limit, or none: the sender went away or sent no UTF-8, or other
 * requests hold all the memory for bodies.
 */
export type RequestBody =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'too_large'; readonly beginning: string }
  | { readonly kind: 'no_room' }
  | { readonly kind: 'not_utf8' }
  | { readonly kind: 'aborted' };

/** Reads the body of a request, at most so many bytes of it. A byte order mark at its start is left out. */
export function readRequestBody(
  request: IncomingMessage,
  response: ServerResponse,
  maxBytes: number,
  memory: BodyMemory,
): Promise<RequestBody> {
  return new Promise((resolve) => {
    const body = new ByteCollector();
    let isRefused = false;
    let isWhole = false;
    // The rest of a refused body is read and dropped: the response needs the connection.
    request.on('data', (chunk: Buffer) => {
      if (isRefused) return;
      isRefused = !memory.reserve(response, body.length + chunk.length);
      if (isRefused) return resolve({ kind: 'no_room' });
      body.add(chunk);
      if (body.length <= maxBytes) return;
      isRefused = true;
      resolve({ kind: 'too_large', beginning: Buffer.from(body.bytes.subarray(0, maxBytes)).toString('utf8') });
    });
    request.on('end', () => {
      if (isRefused) return;
      if (body.length <= MAX_IMMEDIATE_PARSE_BYTES) return resolve(textFrom(body.bytes));
      isWhole = true;
      void memory
        .waitForParseTurn()
        .then(() => resolve(request.socket.destroyed ? { kind: 'aborted' } : textFrom(body.bytes)));
    });
    request.on('close', () => {
      if (!isWhole) resolve({ kind: 'aborted' });
    });
  });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textFrom(bytes: Uint8Array): RequestBody {
  try {
    return { kind: 'text', text: utf8.decode(bytes) };
  } catch {
    return { kind: 'not_utf8' };
  }
}
