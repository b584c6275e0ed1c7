import type { IncomingMessage } from 'node:http';

/** A body read whole, the beginning of one over the limit, or none because the sender went away or sent no UTF-8. */
export type RequestBody =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'too_large'; readonly beginning: string }
  | { readonly kind: 'not_utf8' }
  | { readonly kind: 'aborted' };

/** Reads the body of a request, at most so many bytes of it. A byte order mark at its start is left out. */
export async function readBody(request: IncomingMessage, maxBytes: number): Promise<RequestBody> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    // Without destroyOnReturn: false, leaving the loop early would cut the connection before the answer.
    for await (const chunk of request.iterator({ destroyOnReturn: false })) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes > maxBytes) {
        request.resume();
        return { kind: 'too_large', beginning: Buffer.concat(chunks).subarray(0, maxBytes).toString('utf8') };
      }
    }
  } catch {
    return { kind: 'aborted' };
  }
  try {
    return { kind: 'text', text: new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)) };
  } catch {
    return { kind: 'not_utf8' };
  }
}
