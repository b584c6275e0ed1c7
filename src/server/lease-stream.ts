import type { Duplex } from 'node:stream';
import type { Response } from 'express';
import { ALIVE_EVENT } from '../api/lease-events.js';
import { hasPipelinedRequest } from '../http/pipelining.js';
import type { HeartbeatMember, HeartbeatWheel } from './heartbeat-wheel.js';

/** A stream of server-sent events that stays open for as long as a lease runs. */
export interface LeaseStream {
  /**
   * Sets the listener that is called once, when the other end closes its side or the connection breaks. If that has happened
   * already, calls the listener at once.
   */
  onGone(listener: () => void): void;
  /** Answers the request and sends the first event, a heartbeat at once, and then one at every interval. */
  open(firstEvent: string, headers?: Readonly<Record<string, string>>): void;
  /** Sends a last event, if there is one to send, and closes the connection; before {@link open}, right after it. */
  end(lastEvent?: string): void;
  /** Cuts the connection of a peer that is not there any more to be told. */
  cut(): void;
}

/** So much may wait for a reader that takes nothing, beyond what the kernel keeps for it: hours of heartbeats. */
const MAX_WAITING_BYTES = 16 * 1024;

/** `X-Accel-Buffering` tells nginx, and what follows its example, to pass each event on as it comes. */
const STREAM_HEADERS = {
  'cache-control': 'no-cache',
  'content-type': 'text/event-stream',
  'x-accel-buffering': 'no',
};

/** What marks a connection that carries a lease. */
const leased = Symbol('leased');

/**
 * Whether a connection carries a lease. What the HTTP parser still finds wrong with it, such as a second request that
 * had begun before and now never goes on, is noise.
 */
export function carriesLease(socket: Duplex & { readonly [leased]?: true }): boolean {
  return socket[leased] === true;
}

/**
 * Takes over the connection of a request that has been read: from here on it carries events one way, and the only
 * thing that the other end can say on it is that it goes.
 */
export function createLeaseStream(response: Response, heartbeats: HeartbeatWheel): LeaseStream {
  return new ResponseStream(response, heartbeats);
}

/** A heartbeat, in the parts of HTTP/1.1 and as it stands in HTTP/1.0: the same bytes for all streams. */
const ALIVE_CHUNK = Buffer.from(chunk(ALIVE_EVENT));
const ALIVE_BYTES = Buffer.from(ALIVE_EVENT);

/** There may be many thousands, so each has little: a socket and a slot among the heartbeats. */
class ResponseStream implements LeaseStream, HeartbeatMember {
  readonly #socket: Response['socket'];
  readonly #heartbeats: HeartbeatWheel;
  /** Until the answer's head is sent. */
  #response: Response | undefined;
  #state: 'waiting' | 'open' | 'ended' | 'gone' = 'waiting';
  #isChunked = true;
  #lastEvent = '';
  #stopBeating: () => void = nothing;
  #onGone: () => void = nothing;

  constructor(response: Response, heartbeats: HeartbeatWheel) {
    const { socket } = response;
    this.#socket = socket;
    this.#heartbeats = heartbeats;
    this.#response = response;
    if (socket && !socket.destroyed) this.#takeOver(socket);
    else this.cut();
  }

  onGone(listener: () => void): void {
    if (this.#state === 'gone') listener();
    else this.#onGone = listener;
  }

  #takeOver(socket: NonNullable<Response['socket']>): void {
    Object.assign(socket, { [leased]: true });
    // Whatever else arrives is read and dropped. Left to the HTTP parser, a second request would wait for this answer's
    // end, its socket would be paused, and a paused socket never tells that the other end has closed.
    // Each by itself: to remove all would make a dictionary of the socket's listeners, of 1 kB.
    for (const listener of socket.listeners('data')) socket.off('data', listener as () => void);
    socket.on('data', nothing);
    // While the parser had what came, none of it reached the Readable, whose `reading` has been true since its first reading.
    // Where the connection was paused, for requests that wait behind, it would therefore never ask to read again. An empty
    // push clears that.
    socket.push('');
    socket.resume();
    // Its silence is watched over in other ways.
    socket.setTimeout(0);
    const gone = (): void => this.cut();
    socket.on('end', gone);
    socket.on('close', gone);
  }

  open(firstEvent: string, headers: Readonly<Record<string, string>> = {}): void {
    const [response, socket] = [this.#response, this.#socket];
    if (this.#state === 'gone' || !response || !socket) return;
    this.#response = undefined;
    socket.cork();
    response.writeHead(200, { ...headers, ...STREAM_HEADERS });
    response.flushHeaders();
    this.#isChunked = response.chunkedEncoding;
    socket.write(this.#framed(firstEvent));
    if (this.#state === 'waiting') {
      this.#state = 'open';
      this.#stopBeating = this.#heartbeats.join(this);
      this.beat();
    } else this.#finish();
    socket.uncork();
    letGo(response, socket);
  }

  beat(): void {
    const socket = this.#socket;
    if (!socket || socket.writableLength > MAX_WAITING_BYTES) this.cut();
    else socket.write(this.#isChunked ? ALIVE_CHUNK : ALIVE_BYTES);
  }

  end(lastEvent = ''): void {
    if (this.#state === 'gone' || this.#state === 'ended') return;
    this.#lastEvent = lastEvent;
    const wasOpen = this.#state === 'open';
    this.#state = 'ended';
    if (wasOpen) this.#finish();
  }

  cut(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    this.#response = undefined;
    this.#stopBeating();
    this.#socket?.destroy();
    this.#onGone();
  }

  #finish(): void {
    this.#stopBeating();
    const last = this.#lastEvent === '' ? '' : this.#framed(this.#lastEvent);
    this.#socket?.write(this.#isChunked ? `${last}${LAST_CHUNK}` : last);
    this.#socket?.destroySoon();
  }

  #framed(event: string): string {
    return this.#isChunked ? chunk(event) : event;
  }
}

/**
 * Tells Node that a request is dealt with, of whose answer only the head came from it. It then lets go of both: they
 * are a third of what a stream would keep in memory. Not where Node would close the connection thereupon, as it does where
 * only its end tells the end of an answer, nor where another request waits behind, which must not be answered in the midst of the events.
 */
function letGo(response: Response, socket: NonNullable<Response['socket']>): void {
  if (!response.shouldKeepAlive || !response.chunkedEncoding || hasPipelinedRequest(socket)) return;
  response.emit('finish');
  // It takes the connection for one that waits for its next request.
  socket.setTimeout(0);
}

/** The text in the form of a part of an HTTP/1.1 answer whose length is not known before. */
function chunk(text: string): string {
  return `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`;
}

const LAST_CHUNK = '0\r\n\r\n';

function nothing(): void {}
