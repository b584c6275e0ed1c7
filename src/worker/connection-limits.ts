import { constants, type Http2Server, type ServerHttp2Session } from 'node:http2';
import type { Clock } from '../core/ports.js';
import { computeConnectionLimits, type OpenFiles } from '../http/open-files.js';

/** Limits on the connections of a gRPC server. */
export interface ConnectionLimitsOptions {
  readonly clock: Clock;
  /** Open files of the process before the server listens. */
  readonly files: OpenFiles;
  /**
   * Called with the reason when the number of connections approaches the limit of open files, and with undefined when
   * there is room again.
   */
  onFull(reason: string | undefined): void;
}

/** Timeout for the first request on a new connection, in ms. */
const FIRST_REQUEST_TIMEOUT_MS = 10_000;

/** Timeout for a connection without calls, in ms. */
const CONNECTION_IDLE_TIMEOUT_MS = 5 * 60_000;

/**
 * Time between GOAWAY and closing the connection, in ms. A caller whose data arrives at a closed socket gets a reset and
 * might never read the GOAWAY.
 */
const GOAWAY_GRACE_MS = 2000;

/** Time after which a closing connection is destroyed, in ms. */
const CLOSE_TIMEOUT_MS = 5000;

/** Interval between two checks of all connections, in ms. */
const CONNECTION_CHECK_INTERVAL_MS = 1000;

/** Maximum number of connections, even if the limit of open files is higher. */
const MAX_CONNECTIONS = 10_000;

/**
 * Fraction of the full mark below which there is room again. Hysteresis: a single connection must not toggle the state.
 */
const ROOM_AGAIN_FRACTION = 0.9;

interface Connection {
  isKnownToSpeakHttp2: boolean;
  openCalls: number;
  hasHadCall: boolean;
  /** Time when the connection was opened or its last call ended. */
  idleSinceMs: number;
  closingSinceMs: number | undefined;
}

/**
 * Closes idle connections and reports when there are too many for the limit of open files. No call is lost when a used
 * connection is closed: it first sends GOAWAY and gives the caller time to move to another connection.
 */
export class ConnectionLimits {
  readonly #options: ConnectionLimitsOptions;
  readonly #maxConnections: number;
  readonly #fullThreshold: number;
  readonly #connections = new Map<ServerHttp2Session, Connection>();
  #count = 0;
  #isFull = false;
  #cancelTimer: (() => void) | undefined;

  constructor(options: ConnectionLimitsOptions) {
    const { maxConnections, maxLeases } = computeConnectionLimits(options.files);
    this.#options = options;
    this.#maxConnections = Math.min(maxConnections, MAX_CONNECTIONS);
    this.#fullThreshold = Math.min(maxLeases, this.#maxConnections - 1);
  }

  /** Starts to limit the connections of a listening server. */
  attach(server: Http2Server): void {
    server.maxConnections = this.#maxConnections;
    server.on('connection', (socket) => {
      this.#updateCount(1);
      socket.once('close', () => this.#updateCount(-1));
    });
    server.on('session', (session) => this.#add(session));
  }

  #updateCount(change: 1 | -1): void {
    this.#count += change;
    const isFull = this.#count > this.#fullThreshold * (this.#isFull ? ROOM_AGAIN_FRACTION : 1);
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
    this.#cancelTimer ??= clock.schedule(CONNECTION_CHECK_INTERVAL_MS, () => this.#checkConnections());
  }

  #checkConnections(): void {
    const { clock } = this.#options;
    this.#cancelTimer = clock.schedule(CONNECTION_CHECK_INTERVAL_MS, () => this.#checkConnections());
    const nowMs = clock.nowMs();
    for (const [session, connection] of this.#connections) {
      const { openCalls, hasHadCall, idleSinceMs, closingSinceMs } = connection;
      if (openCalls > 0) continue;
      if (closingSinceMs !== undefined) {
        const closingForMs = nowMs - closingSinceMs;
        if (closingForMs >= GOAWAY_GRACE_MS + CLOSE_TIMEOUT_MS) session.destroy();
        else if (closingForMs >= GOAWAY_GRACE_MS && !session.closed) session.close();
        continue;
      }
      // Near the limit of open files, idle connections are closed earlier.
      const limitMs = hasHadCall && !this.#isFull ? CONNECTION_IDLE_TIMEOUT_MS : FIRST_REQUEST_TIMEOUT_MS;
      if (nowMs - idleSinceMs < limitMs) continue;
      connection.closingSinceMs = nowMs;
      sendGoaway(session, connection);
    }
  }
}

/** Asks the caller to send no more calls on this connection. A connection that does not speak HTTP/2 is destroyed. */
function sendGoaway(session: ServerHttp2Session, { isKnownToSpeakHttp2 }: Connection): void {
  if (session.destroyed || session.closed) return;
  // The frame contains the id of the last accepted call, so a caller that has just sent another one retries it elsewhere
  // immediately. With the highest possible id (RFC 9113, 6.8), a Node.js caller would wait until the connection closes.
  if (isKnownToSpeakHttp2) session.goaway(constants.NGHTTP2_NO_ERROR);
  else session.destroy();
}
