import { createServer, type IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SecureContextOptions } from 'node:tls';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { pollChanges } from '../core/poll-changes.js';
import type { Clock } from '../core/ports.js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';
import { waitForAcceptance } from './body-acceptance.js';
import { respondToParseErrorInTurn } from './http-parse-errors.js';
import type { ConnectionLimit } from './open-files.js';
import { isFirstInPipeline, undoTlsPause, waitForTurn } from './pipelining.js';

/** Where a server listens, and its limits. */
export interface ListenerOptions {
  /** A host name or address of this machine. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  /** Beginning of the names of the options for host and port, for error messages. Default: none. */
  readonly optionPrefix?: string | undefined;
  /** Returns the current certificate and keys. Default: plain HTTP. */
  readonly tls?: (() => ServerTls) | undefined;
  /** Timeout for receiving a whole request, in ms. Default: 10,000. */
  readonly requestTimeoutMs?: number | undefined;
  /** Timeout for receiving the head of a request, in ms. Default: `requestTimeoutMs`. */
  readonly headTimeoutMs?: number | undefined;
  /** Timeout for a connection without traffic during a response, in ms. 0: none. Default: 30,000. */
  readonly idleTimeoutMs?: number | undefined;
  readonly clock: Clock;
}

/** Handles the requests of a listener. */
export interface ListenerHandlers {
  /** Handles a request. Called when the responses to earlier requests on the connection are sent. */
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** Returns the JSON body of an error response. */
  formatError(detail: string): string;
  /** Returns whether a handler has taken over a connection. Parse errors on it are ignored. Default: never. */
  isTakenOver?(socket: Duplex): boolean;
  /**
   * Whether `handle` checks the heads of requests, with {@link findHeadProblem}. Then it also gets those to which Node would respond:
   * without a host, or with an expectation. Default: false.
   */
  readonly checksHead?: boolean | undefined;
  readonly connections: ConnectionLimit;
  /** The classes of requests and responses. Default: Node's. */
  readonly classes?: Pick<ServerOptions, 'IncomingMessage' | 'ServerResponse'> | undefined;
}

/** A server that listens. */
export interface Listener {
  /** Base URL: `http://127.0.0.1:8080`, or `https://...`. */
  readonly url: string;
  /** The address that it listens on. */
  readonly address: string;
  readonly port: number;
  /** Sends `Connection: close` with each further response, so that no proxy sends a request into a connection that will be cut. */
  stopKeepAlive(): void;
  /** Stops listening and closes all connections. Resolves when they are closed. */
  close(): Promise<void>;
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

/** Starts an HTTP or HTTPS server. Resolves once it accepts requests. Throws `failed` when it can't listen on the address. */
export async function startListener(options: ListenerOptions, handlers: ListenerHandlers): Promise<Listener> {
  const { tls, idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS } = options;
  const { server, stopPolling } = createNodeServer(options, handlers);
  const state = { keepsAlive: true };
  handleRequests(server, handlers, { idleTimeoutMs, keepsAlive: () => state.keepsAlive });
  handlers.connections.apply(server);
  try {
    await bindServer(server, options);
  } catch (error) {
    stopPolling();
    throw error;
  }
  const address = server.address() as AddressInfo;
  return {
    url: formatUrl(address, tls !== undefined),
    address: address.address,
    port: address.port,
    stopKeepAlive() {
      state.keepsAlive = false;
    },
    async close() {
      stopPolling();
      await closeConnections(server);
    },
  };
}

/** Creates a server that doesn't listen yet, and a function that stops polling for changed certificates. */
function createNodeServer(
  { tls, clock, requestTimeoutMs = DEFAULT_REQUEST_TIMEOUT_MS, headTimeoutMs = requestTimeoutMs }: ListenerOptions,
  { classes, checksHead }: ListenerHandlers,
): { readonly server: Server; readonly stopPolling: () => void } {
  const serverOptions = {
    ...classes,
    requireHostHeader: checksHead !== true,
    headersTimeout: headTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: headTimeoutMs / 4,
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

/** Hands each request to the handler in its turn. A response that is sent when the handler returns needs no timer. */
function handleRequests(
  server: Server,
  handlers: ListenerHandlers,
  { idleTimeoutMs, keepsAlive }: { readonly idleTimeoutMs: number; readonly keepsAlive: () => boolean },
): void {
  // Only in its turn: the timer of the response before it can be shorter.
  const limitIdleTime = (request: IncomingMessage, response: ServerResponse): void => {
    if (!response.writableFinished) request.socket.setTimeout(idleTimeoutMs);
  };
  const handle = (request: IncomingMessage, response: ServerResponse): void => {
    handlers.handle(request, response);
    limitIdleTime(request, response);
  };
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    undoTlsPause(request.socket);
    // The connection is closing after the response to an earlier request.
    if (request.socket.writableEnded) return;
    if (!keepsAlive()) response.shouldKeepAlive = false;
    if (isFirstInPipeline(response)) handle(request, response);
    else waitForTurn(request, response, () => handle(request, response));
  };
  server.on('request', onRequest);
  server.on('checkContinue', (request, response) => {
    if (!keepsAlive()) response.shouldKeepAlive = false;
    waitForAcceptance(response);
    onRequest(request, response);
  });
  if (handlers.checksHead) server.on('checkExpectation', onRequest);
  // Node's default sends the same response, but without a timeout for a client that doesn't read it.
  else
    server.on('checkExpectation', (request, response) => {
      waitForTurn(request, response, () => {
        response.writeHead(417).end();
        limitIdleTime(request, response);
      });
    });
  server.on('clientError', (error, socket) => {
    if (!handlers.isTakenOver?.(socket)) respondToParseErrorInTurn(error, socket as Socket, handlers.formatError);
  });
}

function toSecureContext({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}

function bindServer(server: Server, options: ListenerOptions): Promise<void> {
  const { host, port } = options;
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(createListenError(error, options)));
    server.listen({ port, host, backlog: LISTEN_BACKLOG }, resolve);
  });
}

function createListenError(
  error: NodeJS.ErrnoException,
  { host, port, optionPrefix = '' }: ListenerOptions,
): AnyserveError {
  const address = `${host}:${port}`;
  const messages: Partial<Record<string, string>> = {
    EADDRINUSE: `${address} is already in use: stop the other process, or choose another port with --${optionPrefix}port (0 picks a free one)`,
    EACCES: `no permission to listen on ${address}: choose a port above 1023 with --${optionPrefix}port`,
    EADDRNOTAVAIL: `${host} is not an address of this machine: choose another with --${optionPrefix}host`,
    ENOTFOUND: `the host name ${host} can't be resolved: choose another with --${optionPrefix}host`,
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
