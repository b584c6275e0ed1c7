import type { ServerResponse } from 'node:http';
import type { Clock } from '../core/ports.js';
import { createHeartbeatWheel, type HeartbeatMember, type HeartbeatWheel } from './heartbeat-wheel.js';

/** Time between two comments on a stream, in ms. They show a client and its proxies that the stream is alive. */
const COMMENT_INTERVAL_MS = 5000;

const COMMENT = ':\n\n';

/** Time that a client has to receive the end of a stream, in ms. */
const END_TIMEOUT_MS = 5000;

/** `X-Accel-Buffering` makes nginx, and proxies that follow it, forward each event at once. */
const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
};

/**
 * Returns the next events of a stream, formatted, or an empty text if there are none now. Called only when the client has
 * received the earlier ones. A return value much larger than 64 KiB takes memory for as long as the client is slow.
 */
export type ReadEvents = (stream: EventStreamResponse) => string | Uint8Array;

/** The open event streams of an API server, other than those of leases. */
export class EventStreams {
  readonly #clock: Clock;
  readonly #heartbeats: HeartbeatWheel;
  readonly #streams = new Set<EventStreamResponse>();
  #isClosed = false;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#heartbeats = createHeartbeatWheel({ clock, intervalMs: COMMENT_INTERVAL_MS });
  }

  /** Number of open streams. */
  get size(): number {
    return this.#streams.size;
  }

  /**
   * Turns a response into an event stream: sends its head at once, then the events, and a comment every 5 s. The response to a
   * HEAD ends after its head.
   */
  open(response: ServerResponse, read: ReadEvents): EventStreamResponse {
    const stream = new EventStreamResponse(response, read, this.#clock, this.#heartbeats);
    this.#streams.add(stream);
    stream.onClosed(() => void this.#streams.delete(stream));
    if (this.#isClosed || response.req.method === 'HEAD') stream.end();
    else stream.notify();
    return stream;
  }

  /** Ends all streams after the events that their clients can receive at once. Later streams end as soon as they are open. */
  close(): void {
    this.#isClosed = true;
    for (const stream of this.#streams) {
      stream.notify();
      stream.end();
    }
  }
}

/**
 * A response of server-sent events to a client that can be slow. Events are read when the client can receive them, so the
 * stream holds little memory. No comments are sent to a client that has unread events. The listener's idle timeout therefore
 * closes the connection of a client that reads nothing.
 */
export class EventStreamResponse implements HeartbeatMember {
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #read: ReadEvents;
  readonly #leaveHeartbeats: () => void;
  readonly #closedListeners: (() => void)[] = [];
  #isOpen = true;

  constructor(response: ServerResponse, read: ReadEvents, clock: Clock, heartbeats: HeartbeatWheel) {
    this.#response = response;
    this.#clock = clock;
    this.#read = read;
    this.#leaveHeartbeats = heartbeats.join(this);
    response.on('drain', () => this.notify());
    response.on('close', () => this.#close());
    response.on('error', () => this.#close());
    response.writeHead(200, EVENT_STREAM_HEADERS);
    response.flushHeaders();
    if (response.destroyed) this.#close();
  }

  /** Adds a listener that is called once, when no more events can be sent. Calls it at once if that is the case. */
  onClosed(listener: () => void): void {
    if (this.#isOpen) this.#closedListeners.push(listener);
    else listener();
  }

  /** Whether the client has more unread events than it can be sent at once. */
  get isBlocked(): boolean {
    return this.#isOpen && this.#response.writableNeedDrain;
  }

  /** Number of bytes that wait for the client. */
  get unsentBytes(): number {
    return this.#response.writableLength;
  }

  /** Sends the events that are there, if the client can receive them now, or as soon as it can. */
  notify(): void {
    while (this.#isOpen && !this.#response.writableNeedDrain) {
      const events = this.#read(this);
      if (events.length === 0 || !this.#isOpen) return;
      this.#response.write(events);
    }
  }

  /** Sends a comment. Called by the heartbeat wheel. */
  beat(): void {
    if (this.#isOpen && !this.#response.writableNeedDrain) this.#response.write(COMMENT);
  }

  /** Ends the stream with a last event, if any. Closes the connection of a client that doesn't receive it within 5 s. */
  end(lastEvent = ''): void {
    if (!this.#isOpen) return;
    this.#close();
    const response = this.#response;
    const cancelTimeout = this.#clock.schedule(END_TIMEOUT_MS, () => response.destroy(), { background: true });
    response.once('close', cancelTimeout);
    response.end(lastEvent);
  }

  #close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#leaveHeartbeats();
    for (const listener of this.#closedListeners) listener();
  }
}
