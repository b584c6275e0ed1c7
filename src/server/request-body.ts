import type { IncomingMessage } from 'node:http';

/** A body read whole, the beginning of one over the limit, or none because the sender went away or sent no UTF-8. */
export type RequestBody =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'too_large'; readonly beginning: string }
  | { readonly kind: 'not_utf8' }
  | { readonly kind: 'aborted' };

/** Reads the body of a request, at most so many bytes of it. A byte order mark at its start is left out. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<RequestBody> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    // What comes beyond the limit is read and dropped: the answer needs the connection.
    request.on('data', (chunk: Buffer) => {
      if (bytes > maxBytes) return;
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes <= maxBytes) return;
      resolve({ kind: 'too_large', beginning: Buffer.concat(chunks).subarray(0, maxBytes).toString('utf8') });
      chunks.length = 0;
    });
    request.on('end', () => {
      const [only] = chunks;
      resolve(textFrom(only && chunks.length === 1 ? only : Buffer.concat(chunks)));
    });
    request.on('close', () => resolve({ kind: 'aborted' }));
  });
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

function textFrom(bytes: Buffer): RequestBody {
  try {
    return { kind: 'text', text: utf8.decode(bytes) };
  } catch {
    return { kind: 'not_utf8' };
  }
}
