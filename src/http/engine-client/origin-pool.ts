import { getErrorMessage } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import { ClientConnection, type ConnectionOwner } from './client-connection.js';
import type { Exchange, ExchangeHolder } from './engine-call.js';
import { type ConnectorSettings, OriginConnector } from './origin-connector.js';

/** Settings that all pools of a client share. */
export interface PoolSettings extends ConnectorSettings {
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly maxConnections: number;
}

/** Time after which an idle connection is closed, in ms. uvicorn and Node.js close theirs after 5 s, and a request could be lost. */
const IDLE_TIMEOUT_MS = 4000;

/** Time before the end that a server announces at which an idle connection is no longer used, in ms. */
const KEEP_ALIVE_MARGIN_MS = 1000;

/** The connections to one origin, and the calls that wait for one. */
export class OriginPool implements ConnectionOwner, ExchangeHolder {
  readonly origin: string;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  /** Value of the header `host`. */
  readonly host: string;
  readonly #settings: PoolSettings;
  readonly #onEmpty: () => void;
  readonly #connector: OriginConnector;
  readonly #connections = new Set<ClientConnection>();
  /** The connection used last is at the end, and used first. Closed ones can be among them. */
  #idle: ClientConnection[] = [];
  readonly #waiting = new Set<Exchange>();
  #cancelSweep: (() => void) | undefined;

  /** Calls `onEmpty` when the last connection is gone. */
  constructor(url: URL, settings: PoolSettings, onEmpty: () => void) {
    this.origin = url.origin;
    this.host = url.host;
    this.clock = settings.clock;
    this.connectTimeoutMs = settings.connectTimeoutMs;
    this.#settings = settings;
    this.#onEmpty = onEmpty;
    this.#connector = new OriginConnector(url, settings);
  }

  /** Sends a request over an idle or a new connection, or lets it wait for one. */
  send(exchange: Exchange): void {
    const idle = this.#takeIdle();
    if (idle) idle.start(exchange);
    else if (this.#connections.size < this.#settings.maxConnections) this.#connect(exchange);
    else {
      exchange.holder = this;
      this.#waiting.add(exchange);
    }
  }

  retry(exchange: Exchange): void {
    this.#connect(exchange);
  }

  abandon(exchange: Exchange): void {
    this.#waiting.delete(exchange);
  }

  release(connection: ClientConnection, keepAliveMs: number): void {
    const next = this.#takeWaiting();
    if (next) return void connection.start(next);
    connection.expiresAtMs = this.clock.nowMs() + Math.min(IDLE_TIMEOUT_MS, keepAliveMs - KEEP_ALIVE_MARGIN_MS);
    this.#idle.push(connection);
    this.#cancelSweep ??= this.clock.schedule(IDLE_TIMEOUT_MS, () => this.#sweep(), { background: true });
  }

  remove(connection: ClientConnection): void {
    this.#connections.delete(connection);
    // A request that is sent again takes the place of its connection, before those that wait.
    queueMicrotask(() => this.#refill());
  }

  /** Closes all connections. Their calls fail. */
  close(): void {
    const reason = 'the client was closed';
    for (const exchange of this.#waiting) this.#refuse(exchange, reason);
    this.#waiting.clear();
    for (const connection of this.#connections) connection.interrupt(reason);
  }

  #takeIdle(): ClientConnection | undefined {
    if (this.#idle.length === 0) return undefined;
    const nowMs = this.clock.nowMs();
    const { tls } = this.#connector;
    for (let idle = this.#idle.pop(); idle; idle = this.#idle.pop()) {
      if (idle.isOpen && idle.expiresAtMs > nowMs && idle.tls === tls) return idle;
      idle.close();
    }
    return undefined;
  }

  #takeWaiting(): Exchange | undefined {
    for (const exchange of this.#waiting) {
      this.#waiting.delete(exchange);
      return exchange;
    }
    return undefined;
  }

  /** Opens connections for calls that wait. Reports when nothing is left. */
  #refill(): void {
    while (this.#waiting.size > 0 && this.#connections.size < this.#settings.maxConnections)
      this.#connect(this.#takeWaiting() as Exchange);
    if (this.#connections.size > 0) return;
    this.#cancelSweep?.();
    this.#cancelSweep = undefined;
    this.#onEmpty();
  }

  /** Closes idle connections in time. One timer serves all of them. */
  #sweep(): void {
    const nowMs = this.clock.nowMs();
    const [expired, kept] = [[] as ClientConnection[], [] as ClientConnection[]];
    let nextMs = Number.POSITIVE_INFINITY;
    for (const idle of this.#idle) {
      const isKept = idle.isOpen && idle.expiresAtMs > nowMs;
      (isKept ? kept : expired).push(idle);
      if (isKept) nextMs = Math.min(nextMs, idle.expiresAtMs);
    }
    this.#idle = kept;
    this.#cancelSweep =
      kept.length > 0 ? this.clock.schedule(nextMs - nowMs, () => this.#sweep(), { background: true }) : undefined;
    for (const idle of expired) idle.close();
  }

  #connect(exchange: Exchange): void {
    try {
      const connection = new ClientConnection((onBytes) => this.#connector.open(onBytes), this);
      this.#connections.add(connection);
      connection.start(exchange);
    } catch (error) {
      // The address is not allowed, or a certificate can't be parsed.
      this.#refuse(exchange, getErrorMessage(error), error);
    }
  }

  /** Fails a call for which nothing was sent. Later, because the caller does not have the call yet. */
  #refuse(exchange: Exchange, reason: string, cause?: unknown): void {
    exchange.holder = this;
    const kind = exchange.isRetry ? 'no_response' : 'connect_failed';
    queueMicrotask(() => {
      if (!exchange.isDone) exchange.fail({ kind, message: `${this.origin}: ${reason}`, cause });
      this.#refill();
    });
  }
}
