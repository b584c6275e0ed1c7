import { AnyserveError } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import { quote } from '../../core/quoting.js';
import type { ClientTls } from '../../core/tls.js';
import { type EngineCall, type EngineHandler, Exchange } from './engine-call.js';
import { type EngineRequest, serializeRequest } from './engine-request.js';
import { OriginPool, type PoolSettings } from './origin-pool.js';
import { type AddressCheck, isLinkLocal } from './upstream-address.js';

/** Options of an {@link EngineClient}. */
export interface EngineClientOptions {
  readonly clock: Clock;
  /** Timeout for a connection, in ms, with the DNS lookup and the TLS handshake. Default: 3,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Maximum number of connections to one origin. Further calls wait for one. Default: no limit. */
  readonly maxConnections?: number | undefined;
  /** Returns the TLS settings. Connections with other settings are not used again. Default: Node's authorities. */
  readonly tls?: (() => ClientTls) | undefined;
  /** Decides which IP addresses are connected to. Default: all except link-local ones. */
  readonly checkAddress?: AddressCheck | undefined;
}

const DEFAULT_CONNECT_TIMEOUT_MS = 3000;

const NO_TLS_SETTINGS: ClientTls = {};

/** A strict HTTP/1.1 client for engines, with a pool of connections to each. README.md explains why it exists. */
export class EngineClient {
  readonly #settings: PoolSettings;
  readonly #pools = new Map<string, OriginPool>();
  #isClosed = false;

  constructor(options: EngineClientOptions) {
    this.#settings = {
      clock: options.clock,
      connectTimeoutMs: options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS,
      maxConnections: options.maxConnections ?? Number.POSITIVE_INFINITY,
      tls: options.tls ?? (() => NO_TLS_SETTINGS),
      checkAddress: options.checkAddress ?? ((address) => !isLinkLocal(address)),
    };
  }

  /**
   * Sends a request and hands the response to the handler as it arrives. Responses have no timeout: the caller cancels the
   * call. Throws `invalid_argument` for a request that can't be sent.
   */
  send(request: EngineRequest, handler: EngineHandler): EngineCall {
    if (this.#isClosed) throw new AnyserveError('failed', 'the client for engines was closed');
    const pool = this.#pools.get(request.origin) ?? this.#createPool(request.origin);
    const exchange = new Exchange(request.method, serializeRequest(request, pool.host), handler);
    this.#pools.set(request.origin, pool);
    pool.send(exchange);
    return exchange;
  }

  /** Closes all connections, including those in use. */
  close(): void {
    this.#isClosed = true;
    for (const pool of this.#pools.values()) pool.close();
  }

  #createPool(origin: string): OriginPool {
    const pool: OriginPool = new OriginPool(parseOrigin(origin), this.#settings, () => {
      if (this.#pools.get(origin) === pool) this.#pools.delete(origin);
    });
    return pool;
  }
}

function parseOrigin(origin: string): URL {
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url && isHttp && url.href === `${url.origin}/`) return url;
  throw new AnyserveError('invalid_argument', `${quote(origin)} is not an origin; give one such as http://host:8000`);
}
