import type { IncomingMessage, ServerResponse } from 'node:http';
import { acceptBody } from '../http/body-acceptance.js';
import { PieceList } from './piece-list.js';

/** The result of reading a body: its pieces, or why it was not read. */
export type BodyResult =
  | { readonly kind: 'read'; readonly pieces: readonly Buffer[]; readonly bytes: number }
  | { readonly kind: 'too_large' | 'no_room' | 'aborted' };

/** Maximum size of a body that is not counted, in bytes. A connection takes as much memory. */
const MAX_UNCOUNTED_BYTES = 16 * 1024;

/** Limits the memory of the request bodies that are in the gateway, from their first byte to the end of their calls. */
export class BodyBuffer {
  readonly #maxBodyBytes: number;
  #freeBytes: number;

  constructor(limits: { readonly maxBodyBytes: number; readonly maxTotalBytes: number }) {
    this.#maxBodyBytes = limits.maxBodyBytes;
    this.#freeBytes = limits.maxTotalBytes;
  }

  /** Reads a body in pieces, after asking for it if its length is not over the limit. The caller {@link release}s the bytes that were read. */
  read(request: IncomingMessage, response: ServerResponse): Promise<BodyResult> {
    return new Promise((resolve) => {
      const list = new PieceList();
      let bytes = 0;
      let isDone = false;
      const finish = (result: BodyResult): void => {
        if (isDone) return;
        isDone = true;
        if (result.kind !== 'read') this.release(bytes);
        resolve(result);
      };
      // A caller that gets this response early does not send the rest.
      if (Number(request.headers['content-length'] ?? 0) > this.#maxBodyBytes) finish({ kind: 'too_large' });
      else acceptBody(response);
      request.on('data', (piece: Buffer) => {
        if (isDone) return;
        if (bytes + piece.length > this.#maxBodyBytes) return finish({ kind: 'too_large' });
        if (!this.#reserve(bytes, piece.length)) return finish({ kind: 'no_room' });
        bytes += piece.length;
        list.add(piece);
      });
      request.on('end', () => finish({ kind: 'read', pieces: list.pieces, bytes }));
      request.on('close', () => finish({ kind: 'aborted' }));
    });
  }

  /** Gives back the memory of a body. */
  release(bytes: number): void {
    if (bytes > MAX_UNCOUNTED_BYTES) this.#freeBytes += bytes;
  }

  #reserve(bytes: number, added: number): boolean {
    const total = bytes + added;
    if (total <= MAX_UNCOUNTED_BYTES) return true;
    const needed = bytes > MAX_UNCOUNTED_BYTES ? added : total;
    if (needed > this.#freeBytes) return false;
    this.#freeBytes -= needed;
    return true;
  }
}
