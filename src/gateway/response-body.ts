import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/**
 * Maximum size of a piece that is sent as a string, in bytes. Node.js copies a string of this size to the stack and writes it with one
 * system call. For a larger one it would allocate memory.
 */
const MAX_STRING_BYTES = 16 * 1024 - 16;

/**
 * Sends the body of a response piece by piece. Node.js sends a chunk of a body without a length as four buffers, in the next tick,
 * which takes half of the processor time of a token of a stream. So chunks are encoded here (RFC 9112, section 7.1), and written to
 * the socket. Create it after the head was written.
 */
export class ResponseBody {
  readonly #response: ServerResponse;
  /** The socket, if the body is chunked. */
  readonly #socket: Socket | undefined;

  constructor(response: ServerResponse) {
    this.#response = response;
    if (!response.chunkedEncoding || !response.socket) return;
    this.#socket = response.socket;
    response.flushHeaders();
  }

  /** Sends a piece. The bytes can change afterwards. Returns whether the caller reads as fast as it gets them. */
  write(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (!socket) return this.#response.write(Buffer.from(bytes));
    // The caller has closed its side. Nothing more is read from the engine until the connection has closed.
    if (!socket.writable) return false;
    // An empty chunk would end the body.
    if (bytes.length === 0) return true;
    const size = `${bytes.length.toString(16)}\r\n`;
    if (bytes.length <= MAX_STRING_BYTES) return socket.write(`${size}${bytes.toString('latin1')}\r\n`, 'latin1');
    return socket.write(Buffer.concat([Buffer.from(size), bytes, Buffer.from('\r\n')]));
  }

  /** Calls a function when the caller has read what was sent. */
  onceDrained(listener: () => void): void {
    (this.#socket ?? this.#response).once('drain', listener);
  }
}
