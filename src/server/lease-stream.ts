import type { Duplex } from 'node:stream';
import type { Response } from 'express';
import type { Clock } from '../core/ports.js';
import { ALIVE_EVENT } from '../wire/lease-events.js';

/** A stream of server-sent events that stays open for as long as a lease runs. */
export interface LeaseStream {
  /** Answers the request and sends the first event, a heartbeat at once, and then one at every interval. */
  open(firstEvent: string, headers?: Readonly<Record<string, string>>): void;
  /** Sends a last event, if there is one to send, and closes the connection; before {@link open}, right after it. */
  end(lastEvent?: string): void;
  /** Cuts the connection of a peer that is not there any more to be told. */
  cut(): void;
}

/** What a lease stream needs. */
export interface LeaseStreamOptions {
  readonly clock: Clock;
  readonly heartbeatMs: number;
  /** Called once, as soon as the other end has closed its side, by word or by breaking off. */
  readonly onGone: () => void;
}

/** So much may wait for a reader that takes nothing, beyond what the kernel keeps for it: hours of heartbeats. */
const MAX_WAITING_BYTES = 16 * 1024;

/** The connections that carry a lease. */
const leaseSockets = new WeakSet<Duplex>();

/**
 * Whether a connection carries a lease. What the HTTP parser still finds wrong with it, such as a second request that
 * had begun before and now never goes on, is noise.
 */
export function carriesLease(socket: Duplex): boolean {
  return leaseSockets.has(socket);
}

/**
 * Takes over the connection of a request that has been read: from here on it carries events one way, and the only
 * thing that the other end can say on it is that it goes.
 */
export function createLeaseStream(response: Response, { clock, heartbeatMs, onGone }: LeaseStreamOptions): LeaseStream {
  const { socket } = response;
  let state: 'waiting' | 'open' | 'ended' | 'gone' = 'waiting';
  let lastWords: string | undefined;
  let cancelHeartbeat = (): void => {};

  function gone(): void {
    if (state === 'gone') return;
    state = 'gone';
    cancelHeartbeat();
    socket?.destroy();
    onGone();
  }

  function beat(): void {
    cancelHeartbeat = clock.schedule(heartbeatMs, beat);
    if (response.writableLength > MAX_WAITING_BYTES) gone();
    else response.write(ALIVE_EVENT);
  }

  function finish(): void {
    cancelHeartbeat();
    response.end(lastWords, () => socket?.destroySoon());
  }

  // Whatever else arrives is read and dropped. Left to the HTTP parser, a second request would wait for this answer's
  // end, its socket would be paused, and a paused socket never tells that the other end has closed.
  if (socket) leaseSockets.add(socket);
  socket?.removeAllListeners('data');
  socket?.on('data', () => {});
  socket?.resume();
  // Its silence is watched over in other ways.
  socket?.setTimeout(0);
  socket?.once('end', gone);
  response.once('close', gone);
  if (!socket || socket.destroyed) queueMicrotask(gone);

  return {
    open(firstEvent, headers = {}) {
      if (state === 'gone') return;
      response.writeHead(200, { ...headers, 'cache-control': 'no-cache', 'content-type': 'text/event-stream' });
      response.write(firstEvent);
      if (state === 'ended') return finish();
      state = 'open';
      beat();
    },
    end(lastEvent) {
      if (state === 'gone' || state === 'ended') return;
      lastWords = lastEvent;
      const wasOpen = state === 'open';
      state = 'ended';
      if (wasOpen) finish();
    },
    cut: gone,
  };
}
