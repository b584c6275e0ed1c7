import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { Express, Request, Response } from 'express';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { isLoopback } from '../core/host.js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';
import { pollChanges } from '../credentials/poll-changes.js';
import { HostCheck, type HostCheckOptions } from '../http/host-check.js';
import { computeConnectionLimits, countOpenFiles, type OpenFiles } from '../http/open-files.js';
import { waitForTurn } from '../http/pipelining.js';
import { type ApiApp, type ApiAppOptions, createApiApp } from './api-app.js';
import type { ApiServer } from './api-server-handle.js';
import { DeadPeerDetector } from './dead-peer-detector.js';
import { drainLeases } from './drain.js';
import { createHttpClasses } from './express-classes.js';
import { respondToParseError } from './http-parse-errors.js';
import { Readiness, type ReadinessCheck } from './readiness.js';
import { readRetransmitCount } from './tcp-retransmit-counters.js';
import { readTcpTable } from './tcp-table.js';

/** Options of an API server: those of its HTTP interface, where it listens, and its limits. */
export interface ApiServerOptions
  extends Omit<ApiAppOptions, 'readiness' | 'deadPeers' | 'hosts'>,
    Omit<HostCheckOptions, 'isLocal'> {
  /** A host name or address of this machine. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  /** Returns the current certificate and keys. Default: plain HTTP. */
  readonly tls?: (() => ServerTls) | undefined;
  /** Maximum time that a peer can leave sent data unacknowledged, in ms. */
  readonly ackTimeoutMs: number;
  /** Timeout for receiving a whole request, in ms. It doesn't apply to an open lease. Default: 10,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Timeout for a client that reads nothing of its response, in ms. Default: 30,000. */
  readonly idleTimeoutMs?: number | undefined;
  /** Further conditions for accepting registrations. Default: none. */
  readonly readinessChecks?: readonly ReadinessCheck[] | undefined;
}

/** Timeout for the TLS handshake, in ms. */
const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;

const DEFAULT_REQUEST_TIMEOUT_MS = 10_000;

const DEFAULT_IDLE_TIMEOUT_MS = 30_000;

/**
 * Time that a connection can wait for its next request, in ms. Load balancers keep idle connections for up to 60 s by
 * default (AWS ALB, nginx). The balancer must close first: otherwise it can send a request into a connection that the
 * server has just closed, and that request is lost.
 */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;

const MAX_HEADER_BYTES = 16 * 1024;

/**
 * Maximum number of connections that wait to be accepted, if the kernel allows as many. A whole fleet can reconnect at
 * once, and Node's default is 511.
 */
const LISTEN_BACKLOG = 4096;

/** Starts an API server. Resolves once it accepts requests. Throws `failed` when it can't listen on the address. */
export async function startHttpApi(options: ApiServerOptions): Promise<ApiServer> {
  const { host, port, registry, clock, events, tls, tokens, ackTimeoutMs } = options;
  let isLocal = isLoopback(host);
  const hosts = new HostCheck({ ...options, isLocal: () => isLocal });
  const connections = new ConnectionLimit(await countOpenFiles());
  const readiness = new Readiness([connections.readinessCheck, ...(options.readinessChecks ?? [])]);
  const kernel = { readTable: readTcpTable, readRetransmitCount };
  const deadPeers = new DeadPeerDetector({ registry, clock, events, ackTimeoutMs, ...kernel });
  const apiApp = createApiApp({ ...options, readiness, deadPeers, hosts });
  const { server, stopPolling } = createNodeServer(apiApp.app, options);
  const state = { isClosing: false };
  const { idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS } = options;
  handleRequests(server, apiApp, { idleTimeoutMs, isClosing: () => state.isClosing });
  server.on('clientError', respondToParseError);
  connections.apply(server);
  try {
    await bindServer(server, host, port);
  } catch (error) {
    deadPeers.close();
    stopPolling();
    throw error;
  }
  readiness.markServing();
  if (!isLoopback(host) && !tokens?.register && !tls?.().ca) {
    events.emit({ kind: 'registration_unprotected', host });
  }
  const address = server.address() as AddressInfo;
  // The host can be a name that resolves to loopback.
  isLocal = isLoopback(address.address);
  return {
    url: formatUrl(address, tls !== undefined),
    port: address.port,
    async close({ drainMs = 0, signal } = {}) {
      state.isClosing = true;
      readiness.markDraining();
      if (drainMs > 0) await drainLeases({ registry, clock, events, durationMs: drainMs, signal });
      stopPolling();
      deadPeers.close();
      // Before the server: it takes the connections of leases for idle ones, and would cut them.
      await registry.close();
      await closeConnections(server);
    },
  };
}

/** Limits and counts the connections of a server, so that it doesn't run out of file descriptors. */
class ConnectionLimit {
  readonly #files: OpenFiles;
  readonly #limits: ReturnType<typeof computeConnectionLimits>;
  #connections = 0;

  constructor(files: OpenFiles) {
    this.#files = files;
    this.#limits = computeConnectionLimits(files);
  }

  /** Passes while there are file descriptors for further leases. */
  get readinessCheck(): ReadinessCheck {
    const { open, limit } = this.#files;
    return {
      name: 'open_files',
      reason: () =>
        this.#connections > this.#limits.maxLeases
          ? `${open + this.#connections} of ${limit} file descriptors are in use; raise the limit with ulimit -n`
          : undefined,
    };
  }

  apply(server: Server): void {
    if (Number.isFinite(this.#limits.maxConnections)) server.maxConnections = this.#limits.maxConnections;
    server.on('connection', (socket) => {
      this.#connections++;
      socket.once('close', () => this.#connections--);
    });
  }
}

/** Creates a server that doesn't listen yet, and a function that stops polling for changed certificates. */
function createNodeServer(
  app: Express,
  options: ApiServerOptions,
): { readonly server: Server; readonly stopPolling: () => void } {
  const { tls, clock, requestTimeoutMs = DEFAULT_REQUEST_TIMEOUT_MS } = options;
  const serverOptions = {
    ...createHttpClasses(app),
    headersTimeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: requestTimeoutMs / 4,
    maxHeaderSize: MAX_HEADER_BYTES,
  };
  if (!tls) return { server: createServer(serverOptions), stopPolling: () => {} };
  const requiresClientCertificate = tls().ca !== undefined;
  const server = createHttpsServer({
    ...serverOptions,
    ...toSecureContext(tls()),
    requestCert: requiresClientCertificate,
    rejectUnauthorized: requiresClientCertificate,
    handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS,
  });
  return {
    server,
    stopPolling: pollChanges(tls, clock, (changed) => server.setSecureContext(toSecureContext(changed))),
  };
}

/**
 * Hands each request to the app. It skips work that express and Node would do for every request: the app has its own error
 * handler, so express needs to create none, and a response that is already sent needs no timer. Responses of a server that
 * is closing have `Connection: close`, so that no proxy sends a request into a connection that is about to be cut.
 */
function handleRequests(
  server: Server,
  { app, handleHotRoute }: ApiApp,
  { idleTimeoutMs, isClosing }: { readonly idleTimeoutMs: number; readonly isClosing: () => boolean },
): void {
  const limitIdleTime = (request: IncomingMessage, response: ServerResponse): void => {
    if (!response.writableFinished) request.socket.setTimeout(idleTimeoutMs);
  };
  server.on('request', (request: Request, response: Response) => {
    if (isClosing()) response.shouldKeepAlive = false;
    if (!handleHotRoute(request, response)) app(request, response, () => response.destroy());
    limitIdleTime(request, response);
  });
  // Node's default sends the same response, but without a timeout for a client that doesn't read it.
  server.on('checkExpectation', (request: Request, response: Response) => {
    waitForTurn(request, response, () => response.writeHead(417).end());
    limitIdleTime(request, response);
  });
}

function toSecureContext({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}

function bindServer(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(createListenError(error, host, port)));
    server.listen({ port, host, backlog: LISTEN_BACKLOG }, resolve);
  });
}

function createListenError(error: NodeJS.ErrnoException, host: string, port: number): AnyserveError {
  const address = `${host}:${port}`;
  const messages: Partial<Record<string, string>> = {
    EADDRINUSE: `${address} is already in use: stop the other process, or choose another port with --port (0 picks a free one)`,
    EACCES: `no permission to listen on ${address}: choose a port above 1023 with --port`,
    EADDRNOTAVAIL: `${host} is not an address of this machine: choose another with --host`,
    ENOTFOUND: `the host name ${host} can't be resolved: choose another with --host`,
  };
  const message = messages[error.code ?? ''] ?? `cannot listen on ${address}: ${getErrorMessage(error)}`;
  return new AnyserveError('failed', message, { cause: error });
}

function formatUrl({ address, family, port }: AddressInfo, isTls: boolean): string {
  const host = family === 'IPv6' ? `[${address}]` : address;
  return `${isTls ? 'https' : 'http'}://${host}:${port}`;
}

/** Closes a server and all its connections. */
async function closeConnections(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  // Responses in progress get one turn of the event loop. Clients that read too slowly are cut off.
  setImmediate(() => server.closeAllConnections());
  await closed;
}
