import { constants, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { Clock } from '../core/ports.js';
import { computeConnectionLimits, type OpenFiles } from '../http/open-files.js';

/** What bounds the connections of a server, and who is told when they come near the bound. */
export interface ConnectionLimitsOptions {
  readonly clock: Clock;
  /** The open files of the process before it listens. */
  readonly files: OpenFiles;
  /** Called when connections come near the limit of open files, with the reason, and with none when there is room again. */
  onFull(reason: string | undefined): void;
}

/** How long a connection may take until its first request, and how long one may stay that is not used any more. */
const FIRST_REQUEST_MS = 10_000;
const IDLE_MS = 5 * 60_000;

/** How long a connection stays whose caller was asked to leave: if what comes meets a closed socket, that is not read. */
const GRACE_MS = 2000;

/** How long a connection may take to close by itself. */
const CLOSE_TIMEOUT_MS = 5000;

/** How often connections are looked at. */
const LOOK_MS = 1000;

/** Maximum number of connections, however many files there can be. */
const MAX_CONNECTIONS = 10_000;

/** The part of the limit below which there is room again: so that one connection more or less changes nothing. */
const ROOM_AGAIN = 0.9;

interface Connection {
  isKnownToSpeakHttp2: boolean;
  openCalls: number;
  hasHadCall: boolean;
  /** When the connection came, or its last call ended. */
  idleSinceMs: number;
  closingSinceMs: number | undefined;
}

/**
 * Closes connections on which nothing happens, and tells when there are too many for the limit of open files. A connection that
 * was used is closed so that no call is lost: its caller is asked to leave (GOAWAY) and has time to.
 */
export class ConnectionLimits {
  readonly #options: ConnectionLimitsOptions;
  readonly #most: number;
  readonly #fullFrom: number;
  readonly #connections = new Map<ServerHttp2Session, Connection>();
  #count = 0;
  #isFull = false;
  #cancelTimer: (() => void) | undefined;

  constructor(options: ConnectionLimitsOptions) {
    const { maxConnections, maxLeases } = computeConnectionLimits(options.files);
    this.#options = options;
    this.#most = Math.min(maxConnections, MAX_CONNECTIONS);
    this.#fullFrom = Math.min(maxLeases, this.#most - 1);
  }

  /** Follows the connections of a server that listens. */
  follow(server: Http2Server): void {
    server.maxConnections = this.#most;
    server.on('connection', (socket) => {
      this.#counted(1);
      socket.once('close', () => this.#counted(-1));
    });
    server.on('session', (session) => this.#add(session));
  }

  #counted(change: 1 | -1): void {
    this.#count += change;
    const isFull = this.#count > this.#fullFrom * (this.#isFull ? ROOM_AGAIN : 1);
    if (isFull === this.#isFull) return;
    this.#isFull = isFull;
    const { open, limit } = this.#options.files;
    const reason = Number.isFinite(limit)
      ? `${open + this.#count} of ${limit} file descriptors are in use; raise the limit with ulimit -n`
      : `${this.#count} connections are open`;
    this.#options.onFull(isFull ? reason : undefined);
  }

  #add(session: ServerHttp2Session): void {
    const { clock } = this.#options;
    const connection: Connection = {
      isKnownToSpeakHttp2: false,
      openCalls: 0,
      hasHadCall: false,
      idleSinceMs: clock.nowMs(),
      closingSinceMs: undefined,
    };
    this.#connections.set(session, connection);
    session.once('remoteSettings', () => {
      connection.isKnownToSpeakHttp2 = true;
    });
    session.on('stream', (stream) => {
      connection.hasHadCall = true;
      connection.openCalls++;
      stream.once('close', () => {
        connection.openCalls--;
        connection.idleSinceMs = clock.nowMs();
      });
    });
    session.once('close', () => {
      this.#connections.delete(session);
      if (this.#connections.size > 0) return;
      this.#cancelTimer?.();
      this.#cancelTimer = undefined;
    });
    this.#cancelTimer ??= clock.schedule(LOOK_MS, () => this.#look());
  }

  #look(): void {
    const { clock } = this.#options;
    this.#cancelTimer = clock.schedule(LOOK_MS, () => this.#look());
    const nowMs = clock.nowMs();
    for (const [session, connection] of this.#connections) {
      const { openCalls, hasHadCall, idleSinceMs, closingSinceMs } = connection;
      if (openCalls > 0) continue;
      if (closingSinceMs !== undefined) {
        const forMs = nowMs - closingSinceMs;
        if (forMs >= GRACE_MS + CLOSE_TIMEOUT_MS) session.destroy();
        else if (forMs >= GRACE_MS && !session.closed) session.close();
        continue;
      }
      // Where there is no room, what is not used goes first.
      const limitMs = hasHadCall && !this.#isFull ? IDLE_MS : FIRST_REQUEST_MS;
      if (nowMs - idleSinceMs < limitMs) continue;
      connection.closingSinceMs = nowMs;
      askToLeave(session, connection);
    }
  }
}

/** Asks the caller of a connection to send no more calls there. One that does not speak HTTP/2 is closed. */
function askToLeave(session: ServerHttp2Session, { isKnownToSpeakHttp2 }: Connection): void {
  if (session.destroyed || session.closed) return;
  // It says which call was the last one taken. A caller that has just sent another knows that it was not, and sends it elsewhere
  // at once. With the highest id there is (RFC 9113, 6.8), a Node.js caller would wait until the connection is closed.
  if (isKnownToSpeakHttp2) session.goaway(constants.NGHTTP2_NO_ERROR);
  else session.destroy();
}
