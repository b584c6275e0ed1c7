import type { Duplex } from 'node:stream';
import type { Request, Response } from 'express';
import { ALIVE_EVENT, LEASE_PROTOCOL, MAX_RENEWAL_LINE_BYTES } from '../api/lease-events.js';
import { hasPipelinedRequest } from '../http/pipelining.js';
import type { HeartbeatMember, HeartbeatWheel } from './heartbeat-wheel.js';
import { respondToLines } from './line-reader.js';

/** A stream of server-sent events that stays open as long as its lease. */
export interface LeaseStream {
  /**
   * Sets the listener that is called once, when the peer closes its side or the connection breaks. If that has already
   * happened, calls the listener at once.
   */
  onClosed(listener: () => void): void;
  /**
   * Sends the response head, the first event and a heartbeat, and then a heartbeat at every interval. With `renew`, switches to
   * {@link LEASE_PROTOCOL}: `renew` is called for each renewal, and resolves to the event that responds to it.
   */
  open(firstEvent: string, headers?: Readonly<Record<string, string>>, renew?: (line: string) => Promise<string>): void;
  /** Sends an event. Before {@link open}, it is sent after the first event. */
  send(event: string): void;
  /** Sends the last event, if any, and closes the connection. Before {@link open}, that happens right after opening. */
  end(lastEvent?: string): void;
  /** Destroys the connection without sending anything, because the peer can't receive it. */
  destroy(): void;
}

/**
 * Maximum number of bytes that wait for a peer that reads nothing, in addition to the kernel's buffers. It is enough for
 * hours of heartbeats.
 */
const MAX_UNSENT_BYTES = 16 * 1024;

const UPGRADE_HEADERS = { connection: 'Upgrade', upgrade: LEASE_PROTOCOL };

/** `X-Accel-Buffering` makes nginx, and proxies that follow it, forward each event at once. */
const STREAM_HEADERS = {
  'cache-control': 'no-cache',
  'content-type': 'text/event-stream',
  'x-accel-buffering': 'no',
};

/** Marks a socket that carries a lease. */
const leased = Symbol('leased');

/**
 * Returns whether a connection carries a lease. HTTP parse errors on it must be ignored: for example, a second request that
 * began before the lease times out, because the rest of it is never parsed.
 */
export function carriesLease(socket: Duplex & { readonly [leased]?: true }): boolean {
  return socket[leased] === true;
}

/** Returns whether the sender of a request wants to renew the lease on its stream. */
export function canTakeRenewals({ headers, httpVersion, socket }: Request): boolean {
  return headers.upgrade?.toLowerCase() === LEASE_PROTOCOL && httpVersion === '1.1' && !hasPipelinedRequest(socket);
}

/**
 * Turns a response into a lease stream and takes over its connection. The request must have been read. From then on the
 * connection carries events to the peer. The peer can close it, and send renewals if the stream is opened for them.
 */
export function createLeaseStream(response: Response, heartbeats: HeartbeatWheel): LeaseStream {
  return new ResponseStream(response, heartbeats);
}

/** A heartbeat for HTTP/1.1 (chunked) and for HTTP/1.0. All streams share the bytes. */
const ALIVE_CHUNK = Buffer.from(toChunk(ALIVE_EVENT));
const ALIVE_BYTES = Buffer.from(ALIVE_EVENT);

/** Holds little memory, since there can be many thousands: a socket and a slot of the heartbeat wheel. */
class ResponseStream implements LeaseStream, HeartbeatMember {
  readonly #socket: Response['socket'];
  readonly #heartbeats: HeartbeatWheel;
  /** Set until the response head is sent. */
  #response: Response | undefined;
  #state: 'waiting' | 'open' | 'ended' | 'closed' = 'waiting';
  #isChunked = true;
  /** Events that are sent after the first one. */
  #waitingEvents = '';
  #lastEvent = '';
  #leaveWheel: () => void = noop;
  #onClosed: () => void = noop;

  constructor(response: Response, heartbeats: HeartbeatWheel) {
    const { socket } = response;
    this.#socket = socket;
    this.#heartbeats = heartbeats;
    this.#response = response;
    if (socket && !socket.destroyed) this.#takeOver(socket);
    else this.destroy();
  }

  onClosed(listener: () => void): void {
    if (this.#state === 'closed') listener();
    else this.#onClosed = listener;
  }

  #takeOver(socket: NonNullable<Response['socket']>): void {
    Object.assign(socket, { [leased]: true });
    // Incoming data is read and dropped. The HTTP parser would make a second request wait for the end of this response and
    // pause the socket, and a paused socket never reports that the peer has closed.
    // Listeners are removed one by one: removeAllListeners would turn the socket's listener table into a 1 kB dictionary.
    for (const listener of socket.listeners('data')) socket.off('data', listener as () => void);
    socket.on('data', noop);
    // While the HTTP parser consumed the data, none of it reached the Readable, whose `reading` flag has been set since its
    // first read. If the connection was paused for pipelined requests, it would therefore never read again. An empty push
    // resets the flag.
    socket.push('');
    socket.resume();
    // No idle timeout: heartbeats and the dead-peer detector find broken connections.
    socket.setTimeout(0);
    const onSocketClosed = (): void => this.destroy();
    socket.on('end', onSocketClosed);
    socket.on('close', onSocketClosed);
  }

  open(
    firstEvent: string,
    headers: Readonly<Record<string, string>> = {},
    renew?: (line: string) => Promise<string>,
  ): void {
    const [response, socket] = [this.#response, this.#socket];
    if (this.#state === 'closed' || !response || !socket) return;
    this.#response = undefined;
    socket.cork();
    if (renew) response.writeHead(101, { ...headers, ...UPGRADE_HEADERS });
    else response.writeHead(200, { ...headers, ...STREAM_HEADERS });
    response.flushHeaders();
    this.#isChunked = response.chunkedEncoding;
    if (renew) this.#takeRenewals(socket, renew);
    socket.write(this.#frame(firstEvent + this.#waitingEvents));
    this.#waitingEvents = '';
    if (this.#state === 'waiting') {
      this.#state = 'open';
      this.#leaveWheel = this.#heartbeats.join(this);
      this.beat();
    } else this.#finish();
    socket.uncork();
    releaseHttpState(response, socket);
  }

  send(event: string): void {
    if (this.#state === 'waiting') this.#waitingEvents += event;
    else if (this.#state === 'open') this.#write(this.#frame(event));
  }

  beat(): void {
    this.#write(this.#isChunked ? ALIVE_CHUNK : ALIVE_BYTES);
  }

  #takeRenewals(socket: NonNullable<Response['socket']>, renew: (line: string) => Promise<string>): void {
    socket.off('data', noop);
    respondToLines(socket, MAX_RENEWAL_LINE_BYTES, renew, (event) => this.#state === 'open' && this.#write(event));
  }

  #write(bytes: string | Buffer): void {
    const socket = this.#socket;
    if (!socket || socket.writableLength > MAX_UNSENT_BYTES) this.destroy();
    else socket.write(bytes);
  }

  end(lastEvent = ''): void {
    if (this.#state === 'closed' || this.#state === 'ended') return;
    this.#lastEvent = lastEvent;
    const wasOpen = this.#state === 'open';
    this.#state = 'ended';
    if (wasOpen) this.#finish();
  }

  destroy(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#response = undefined;
    this.#leaveWheel();
    this.#socket?.destroy();
    this.#onClosed();
  }

  #finish(): void {
    this.#leaveWheel();
    const last = this.#lastEvent === '' ? '' : this.#frame(this.#lastEvent);
    this.#socket?.write(this.#isChunked ? `${last}${LAST_CHUNK}` : last);
    this.#socket?.destroySoon();
  }

  #frame(event: string): string {
    return this.#isChunked ? toChunk(event) : event;
  }
}

/**
 * Makes Node consider the request complete, so that it releases the request and the response. They are a third of the
 * memory of a stream. Skipped in two cases. Without an upgrade, chunked encoding or keep-alive, Node would close the connection.
 * With a pipelined request, Node would send its response between the events.
 */
function releaseHttpState(response: Response, socket: NonNullable<Response['socket']>): void {
  const staysOpen = response.chunkedEncoding || response.statusCode === 101;
  if (!response.shouldKeepAlive || !staysOpen || hasPipelinedRequest(socket)) return;
  response.emit('finish');
  // Node now treats the connection as idle and has set the keep-alive timeout.
  socket.setTimeout(0);
}

/** Frames a string as a chunk of HTTP/1.1 chunked encoding. */
function toChunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

const LAST_CHUNK = '0\r\n\r\n';

function noop(): void {}
