import type { ServerResponse } from 'node:http';
import { filterResponseHeaders } from '../client/http-calls/forwarded-headers.js';
import { getHeader } from '../client/http-calls/http-failure.js';
import type { BodySink, IncomingResponse } from '../client/http-calls/incoming-response.js';
import { serializeOpenaiError } from '../client/http-calls/openai-error.js';
import { AnyserveError } from '../core/errors.js';

/** Timeout for a caller that reads nothing of its response, in ms. */
const READ_TIMEOUT_MS = 30_000;

/** Maximum size of a body that is sent as a string, in bytes. */
const MAX_STRING_BYTES = 16 * 1024;

/** How a relayed response ended. `error` is undefined if it is complete. */
export interface RelayEnd {
  readonly error: unknown;
  /** Number of bytes of the body that were sent. */
  readonly bytes: number;
}

/**
 * Sends a replica's response to the caller as it arrives: its status, headers and bytes. A response that breaks off never looks
 * complete: the connection is closed without its end, and a stream of events gets an event with the error before that.
 */
export function relayResponse(
  incoming: IncomingResponse,
  response: ServerResponse,
  addedHeaders: readonly string[],
  onEnd: (end: RelayEnd) => void,
): void {
  const { status, reason, headers: received } = incoming.head;
  const headers = filterResponseHeaders(received);
  headers.push(...addedHeaders);
  response.sendDate = false;
  if (incoming.isComplete) {
    sendWhole(incoming, response, headers, onEnd);
    return;
  }
  // Node sends what is written before `uncork` in one system call.
  response.cork();
  response.writeHead(status, reason, headers);
  incoming.pipe(new Relay(incoming, response, onEnd));
  incoming.resume();
  response.uncork();
}

/**
 * Sends a response that has arrived as a whole. Node writes a head and a string with one system call, but a head and a buffer with
 * a slower one for several buffers.
 */
function sendWhole(
  { head, pieces }: IncomingResponse,
  response: ServerResponse,
  headers: string[],
  onEnd: (end: RelayEnd) => void,
): void {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  if (bytes > 0 && getHeader(head.headers, 'content-length') === undefined)
    headers.push('content-length', String(bytes));
  response.cork();
  response.writeHead(head.status, head.reason, headers);
  if (bytes <= MAX_STRING_BYTES) response.write(toLatin1(pieces), 'latin1');
  else for (const piece of pieces) response.write(piece);
  // Before `end`, which would add an empty string to what is written, and so make it several buffers.
  response.uncork();
  response.end();
  onEnd({ error: undefined, bytes });
}

function toLatin1(pieces: readonly Buffer[]): string {
  let text = '';
  for (const piece of pieces) text += piece.toString('latin1');
  return text;
}

class Relay implements BodySink {
  readonly #incoming: IncomingResponse;
  readonly #response: ServerResponse;
  readonly #onEnd: (end: RelayEnd) => void;
  #bytes = 0;
  #isWaiting = false;

  constructor(incoming: IncomingResponse, response: ServerResponse, onEnd: (end: RelayEnd) => void) {
    this.#incoming = incoming;
    this.#response = response;
    this.#onEnd = onEnd;
  }

  onBody(bytes: Buffer): void {
    this.#bytes += bytes.length;
    if (!this.#response.write(bytes) && !this.#isWaiting) this.#waitForCaller();
  }

  onEnd(): void {
    this.#response.end();
    this.#onEnd({ error: undefined, bytes: this.#bytes });
  }

  onFailure(error: unknown): void {
    if (this.#isEventStream) this.#response.write(createErrorEvent(error));
    // After what was written, the connection closes without the end of the response.
    this.#response.uncork();
    this.#response.socket?.destroySoon();
    this.#onEnd({ error, bytes: this.#bytes });
  }

  get #isEventStream(): boolean {
    return getHeader(this.#incoming.head.headers, 'content-type')?.startsWith('text/event-stream') ?? false;
  }

  /** Stops reading from the replica until the caller has read what was sent. */
  #waitForCaller(): void {
    const { socket } = this.#response;
    this.#isWaiting = true;
    this.#incoming.pause();
    socket?.setTimeout(READ_TIMEOUT_MS);
    this.#response.once('drain', () => {
      this.#isWaiting = false;
      socket?.setTimeout(0);
      this.#incoming.resume();
    });
  }
}

/** Creates an event with an error in OpenAI's form. The empty lines end an event that was cut off. */
function createErrorEvent(error: unknown): string {
  const message = error instanceof AnyserveError ? error.message : 'the response broke off';
  const data = serializeOpenaiError({ status: 502, message, type: 'server_error', code: 'incomplete_response' });
  return `\n\nevent: error\ndata: ${data}\n\n`;
}
