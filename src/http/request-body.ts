import type { IncomingMessage, ServerResponse } from 'node:http';
import { ByteCollector } from '../core/byte-collector.js';
import { acceptBody } from './body-acceptance.js';
import { type BodyMemory, MAX_IMMEDIATE_PARSE_BYTES } from './body-memory.js';

/**
 * The result of reading a request body:
 * - `text`: the whole body.
 * - `too_large`: the beginning of a body over the limit.
 * - `no_room`: other requests use all memory for bodies.
 * - `not_utf8`: the body is not valid UTF-8.
 * - `aborted`: the client disconnected.
 */
export type RequestBody =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'too_large'; readonly beginning: string }
  | { readonly kind: 'no_room' }
  | { readonly kind: 'not_utf8' }
  | { readonly kind: 'aborted' };

/** Reads at most `maxBytes` of a request body, after asking for it if the client waits for that. Removes a byte order mark. */
export function readRequestBody(
  request: IncomingMessage,
  response: ServerResponse,
  maxBytes: number,
  memory: BodyMemory,
): Promise<RequestBody> {
  acceptBody(response);
  return new Promise((resolve) => {
    const body = new ByteCollector();
    let isRefused = false;
    let isComplete = false;
    // The rest of a refused body is read and discarded, because the response needs the connection.
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
      if (body.length <= MAX_IMMEDIATE_PARSE_BYTES) return resolve(decodeBody(body.bytes));
      isComplete = true;
      void memory
        .waitForParseTurn()
        .then(() => resolve(request.socket.destroyed ? { kind: 'aborted' } : decodeBody(body.bytes)));
    });
    request.on('close', () => {
      if (!isComplete) resolve({ kind: 'aborted' });
    });
  });
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

function decodeBody(bytes: Uint8Array): RequestBody {
  try {
    return { kind: 'text', text: strictUtf8.decode(bytes) };
  } catch {
    return { kind: 'not_utf8' };
  }
}
