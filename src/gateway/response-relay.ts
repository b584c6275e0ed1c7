import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { filterResponseHeaders } from '../client/http-calls/forwarded-headers.js';
import { getHeader } from '../client/http-calls/http-failure.js';
import type { BodySink, IncomingResponse } from '../client/http-calls/incoming-response.js';
import { serializeOpenaiError } from '../client/http-calls/openai-error.js';
import { AnyserveError } from '../core/errors.js';
import { type PendingWrite, writeBatch } from '../http/write-batch.js';
import { ResponseBody } from './response-body.js';
import { BodyTail } from './token-usage.js';

/** Default timeout for a caller that reads nothing of its response, in ms. */
export const READ_TIMEOUT_MS = 30_000;

/** Maximum size of a body that is sent as a string, in bytes. */
const MAX_STRING_BYTES = 16 * 1024;

/** How a response is sent to the caller. */
export interface RelayOptions {
  /** Names and values in turn. */
  readonly addedHeaders: readonly string[];
  /** Timeout for a caller that reads nothing, in ms. */
  readonly readTimeoutMs: number;
}

/** How a relayed response ended. `error` is undefined if it is complete. */
export interface RelayEnd {
  readonly error: unknown;
  /** Number of bytes of the body that were sent. */
  readonly bytes: number;
  /** The last pieces of the body: at least 2 KiB, or all of it. */
  readonly tail: readonly Buffer[];
}

/**
 * Sends a replica's response to the caller as it arrives: its status, headers and bytes. A response that breaks off never looks
 * complete: the connection is closed without its end, and a stream of events gets an event with the error before that.
 */
export function relayResponse(
  incoming: IncomingResponse,
  response: ServerResponse,
  { addedHeaders, readTimeoutMs }: RelayOptions,
  onEnd: (end: RelayEnd) => void,
): void {
  const { status, reason, headers: received } = incoming.head;
  const headers = filterResponseHeaders(received, status);
  headers.push(...addedHeaders);
  if (incoming.isComplete) {
    const { pieces: tail } = incoming;
    onEnd({ error: undefined, bytes: sendWhole(incoming, response, headers, readTimeoutMs), tail });
    return;
  }
  // Node sends what is written before `uncork` in one system call.
  response.cork();
  writeHead(response, status, reason, headers);
  incoming.pipe(new Relay(incoming, response, readTimeoutMs, onEnd));
  incoming.resume();
  response.uncork();
}

/**
 * Writes the head of a response. With headers that were set before, such as those for web pages, `writeHead` of Node.js 20 keeps
 * only the last one of repeated headers. `headers` has names and values in turn.
 */
export function writeHead(response: ServerResponse, status: number, reason: string, headers: readonly string[]): void {
  if (response.getHeaderNames().length === 0) {
    response.writeHead(status, reason, headers as string[]);
    return;
  }
  for (let index = 0; index < headers.length; index += 2)
    response.appendHeader(headers[index] as string, headers[index + 1] ?? '');
  response.writeHead(status, reason);
}

/**
 * Sends a response that has arrived as a whole. Node writes a head and a string with one system call, but a head and a buffer with
 * a slower one for several buffers. Returns the number of bytes of the body.
 */
function sendWhole(
  { head, pieces }: IncomingResponse,
  response: ServerResponse,
  headers: string[],
  readTimeoutMs: number,
): number {
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  if (bytes > 0 && getHeader(head.headers, 'content-length') === undefined)
    headers.push('content-length', String(bytes));
  response.cork();
  writeHead(response, head.status, head.reason, headers);
  if (bytes <= MAX_STRING_BYTES) response.write(toLatin1(pieces), 'latin1');
  else for (const piece of pieces) response.write(piece);
  writeBatch.add(new WholeResponse(response, readTimeoutMs), response.socket);
  return bytes;
}

/** A response that is written as a whole. It ends after the flush: `end` would add an empty string, and so make it several buffers. */
class WholeResponse implements PendingWrite {
  readonly #response: ServerResponse;
  readonly #readTimeoutMs: number;

  constructor(response: ServerResponse, readTimeoutMs: number) {
    this.#response = response;
    this.#readTimeoutMs = readTimeoutMs;
  }

  flush(): void {
    this.#response.uncork();
  }

  finish(): void {
    endResponse(this.#response, this.#readTimeoutMs);
  }
}

/** Ends a response. Closes the connection if the caller reads nothing of the rest, which would stay in memory. */
export function endResponse(response: ServerResponse, readTimeoutMs: number): void {
  response.end();
  // Node sets another timeout when everything is written and the next request can come.
  if (!response.writableFinished) response.socket?.setTimeout(readTimeoutMs);
}

function toLatin1(pieces: readonly Buffer[]): string {
  let text = '';
  for (const piece of pieces) text += piece.toString('latin1');
  return text;
}

class Relay implements BodySink {
  readonly #incoming: IncomingResponse;
  readonly #response: ServerResponse;
  readonly #body: ResponseBody;
  readonly #readTimeoutMs: number;
  readonly #onEnd: (end: RelayEnd) => void;
  readonly #tail = new BodyTail();
  #bytes = 0;
  #isWaiting = false;
  #isDone = false;

  constructor(
    incoming: IncomingResponse,
    response: ServerResponse,
    readTimeoutMs: number,
    onEnd: (end: RelayEnd) => void,
  ) {
    this.#incoming = incoming;
    this.#response = response;
    this.#body = new ResponseBody(response);
    this.#readTimeoutMs = readTimeoutMs;
    this.#onEnd = onEnd;
  }

  onBody(bytes: Buffer): void {
    this.#bytes += bytes.length;
    this.#tail.add(bytes);
    if (!this.#body.write(bytes) && !this.#isWaiting) this.#waitForCaller();
  }

  onEnd(): void {
    this.#isDone = true;
    endResponse(this.#response, this.#readTimeoutMs);
    this.#onEnd({ error: undefined, bytes: this.#bytes, tail: this.#tail.pieces });
  }

  onFailure(error: unknown): void {
    this.#isDone = true;
    const { headers } = this.#incoming.head;
    const hasLength = getHeader(headers, 'content-length') !== undefined;
    // Callers would take an event for the rest of a body with a length, or read the part of a cut event, which is not valid JSON.
    const hasEvent = isEventStream(headers) && !hasLength && endsEvent(this.#tail.pieces);
    if (hasEvent) this.#body.write(Buffer.from(createErrorEvent(error)));
    breakOff(this.#response, this.#readTimeoutMs, hasLength);
    this.#onEnd({ error, bytes: this.#bytes, tail: this.#tail.pieces });
  }

  /** Stops reading from the replica until the caller has read what was sent. */
  #waitForCaller(): void {
    const { socket } = this.#response;
    this.#isWaiting = true;
    this.#incoming.pause();
    socket?.setTimeout(this.#readTimeoutMs);
    this.#body.onceDrained(() => {
      // The socket can already send the next response.
      if (this.#isDone) return;
      this.#isWaiting = false;
      socket?.setTimeout(0);
      this.#incoming.resume();
    });
  }
}

/**
 * Closes the connection of an incomplete response after what was written. Node can hold back what was written until the end of the
 * turn, so the connection closes after it.
 *
 * It is reset if the caller could take its end for the end of the body: with HTTP/1.0, which nginx uses by default, and undici after
 * `Connection: close`. An event with an error does not prevent that, because a proxy passes it on as a part of the body. TLS has no
 * reset: its connection closes without the alert that ends it.
 */
export function breakOff(response: ServerResponse, readTimeoutMs: number, hasLength = false): void {
  const { socket, chunkedEncoding, shouldKeepAlive } = response;
  if (!socket) return;
  socket.setTimeout(readTimeoutMs);
  const isEndNoticed = hasLength || (chunkedEncoding && shouldKeepAlive);
  setImmediate(() => {
    if (isEndNoticed) socket.destroySoon();
    // A reset discards what has not been sent.
    else if (socket.writable) socket.write('', () => resetConnection(socket));
    else resetConnection(socket);
  });
}

function resetConnection(socket: Socket): void {
  if ('encrypted' in socket) socket.destroy();
  else socket.resetAndDestroy();
}

/** Returns whether a response is a stream of events. */
export function isEventStream(headers: readonly string[]): boolean {
  return /^text\/event-stream\s*(?:;|$)/i.test(getHeader(headers, 'content-type') ?? '');
}

/** Returns whether the last bytes of a stream are an empty line, which ends an event. Lines end with CRLF, LF or CR. */
function endsEvent(tail: readonly Buffer[]): boolean {
  return /(?:\n|\r(?!\n))(?:\r\n|\n|\r)$/.test(Buffer.concat(tail).toString('latin1'));
}

/** Creates an event with an error in OpenAI's form, for a stream that breaks off. */
export function createErrorEvent(error: unknown): string {
  const message = error instanceof AnyserveError ? error.message : 'the response broke off';
  const data = serializeOpenaiError({ status: 502, message, type: 'server_error', code: 'incomplete_response' });
  return `event: error\ndata: ${data}\n\n`;
}
