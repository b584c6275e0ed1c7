import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import type { Express, Request, Response } from 'express';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { isLoopback } from '../core/loopback.js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';
import { pollChanges } from '../credentials/poll-changes.js';
import { HostCheck, type HostCheckOptions } from '../http/host-check.js';
import { computeConnectionLimits, countOpenFiles, type OpenFiles } from '../http/open-files.js';
import { waitForTurn } from '../http/pipelining.js';
import type { ApiServer } from './api-server-handle.js';
import { type ApiApp, type AppOptions, createApp } from './app.js';
import { DeadPeerDetector } from './dead-peer-detector.js';
import { drainLeases } from './drain.js';
import { createHttpClasses } from './express-classes.js';
import { respondToParseError } from './http-parse-errors.js';
import { Readiness, type ReadinessCheck } from './readiness.js';
import { readRetransmitCount } from './tcp-retransmit-counters.js';
import { readTcpTable } from './tcp-table.js';

/** Where an API server listens, besides what its app needs. */
export interface ApiServerOptions
  extends Omit<AppOptions, 'readiness' | 'deadPeers' | 'hosts'>,
    Omit<HostCheckOptions, 'isLocal'> {
  /** A host name or address of this machine. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  /** What is shown to callers, as it is now; plain HTTP is spoken unless told. */
  readonly tls?: (() => ServerTls) | undefined;
  /** How long a peer may leave what was sent to it unacknowledged, in milliseconds. */
  readonly ackLimitMs: number;
  /** How long a request may take to arrive whole; 10 s unless told. An open lease is no request any more. */
  readonly requestTimeoutMs?: number | undefined;
  /** For how long a caller may take nothing of an answer; 30 s unless told. */
  readonly idleTimeoutMs?: number | undefined;
  /** Further conditions for accepting registrations. Default: none. */
  readonly readinessChecks?: readonly ReadinessCheck[] | undefined;
}

/** How long a caller may take until it is known to speak TLS. */
const HANDSHAKE_LIMIT_MS = 10_000;

const REQUEST_TIMEOUT_MS = 10_000;

const IDLE_TIMEOUT_MS = 30_000;

/**
 * How long a connection may wait for its next request. Balancers keep idle connections for up to 60 s by default (AWS ALB, nginx);
 * the side that closes first must be theirs, or a request is sent into a connection that has just been closed, and is lost.
 */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;

const MAX_HEADER_BYTES = 16 * 1024;

/** So many connections may wait to be taken, if the kernel lets them: as when a whole fleet comes back. Node's own is 511. */
const BACKLOG = 4096;

/** Starts to listen; resolves once requests are taken. Throws `failed` when the address cannot be had. */
export async function startHttpApi(options: ApiServerOptions): Promise<ApiServer> {
  const { host, port, registry, clock, events, tls, tokens, ackLimitMs, idleTimeoutMs = IDLE_TIMEOUT_MS } = options;
  let isLocal = isLoopback(host);
  const hosts = new HostCheck({ ...options, isLocal: () => isLocal });
  const files = await countOpenFiles();
  const limits = computeConnectionLimits(files);
  let connections = 0;
  const openFiles: ReadinessCheck = {
    name: 'open_files',
    reason: () => (connections > limits.maxLeases ? outOfFiles(files, connections) : undefined),
  };
  const readiness = new Readiness([openFiles, ...(options.readinessChecks ?? [])]);
  const kernel = { readTable: readTcpTable, countVainWaits: readRetransmitCount };
  const deadPeers = new DeadPeerDetector({ registry, clock, events, limitMs: ackLimitMs, ...kernel });
  const { app, answerHot } = createApp({ ...options, readiness, deadPeers, hosts });
  const { server, unfollow } = serverFor(app, options);
  let isClosing = false;
  answerRequests(server, { app, answerHot }, { idleTimeoutMs, isClosing: () => isClosing });
  if (Number.isFinite(limits.maxConnections)) server.maxConnections = limits.maxConnections;
  server.on('clientError', respondToParseError);
  server.on('connection', (socket) => {
    connections++;
    socket.once('close', () => connections--);
  });
  try {
    await bound(server, host, port);
  } catch (error) {
    deadPeers.close();
    unfollow();
    throw error;
  }
  readiness.markServing();
  if (!isLoopback(host) && !tokens?.register && !tls?.().ca) {
    events.emit({ kind: 'registration_unprotected', host });
  }
  const address = server.address() as AddressInfo;
  // A name of this machine can lead to loopback.
  isLocal = isLoopback(address.address);
  const shownHost = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `${tls ? 'https' : 'http'}://${shownHost}:${address.port}`,
    port: address.port,
    async close({ drainMs = 0, signal } = {}) {
      isClosing = true;
      readiness.markDraining();
      if (drainMs > 0) await drainLeases({ registry, clock, events, overMs: drainMs, signal });
      unfollow();
      deadPeers.close();
      // Before the server, to which the connections of leases are idle ones that it may cut.
      await registry.close();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeIdleConnections();
      // One turn for what is being answered right now; whoever reads too slowly is cut off.
      setImmediate(() => server.closeAllConnections());
      await closed;
    },
  };
}

function outOfFiles({ open, limit }: OpenFiles, connections: number): string {
  return `${open + connections} of ${limit} file descriptors are in use; raise the limit with ulimit -n`;
}

/** A server that does not listen yet, and what ends its looking out for another certificate. */
function serverFor(
  app: Express,
  options: ApiServerOptions,
): { readonly server: Server; readonly unfollow: () => void } {
  const { tls, clock, requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
  const limits = {
    ...createHttpClasses(app),
    headersTimeout: requestTimeoutMs,
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: requestTimeoutMs / 4,
    maxHeaderSize: MAX_HEADER_BYTES,
  };
  if (!tls) return { server: createServer(limits), unfollow: () => {} };
  const asksForCertificate = tls().ca !== undefined;
  const secure = createHttpsServer({
    ...limits,
    ...contextFrom(tls()),
    requestCert: asksForCertificate,
    rejectUnauthorized: asksForCertificate,
    handshakeTimeout: HANDSHAKE_LIMIT_MS,
  });
  return {
    server: secure,
    unfollow: pollChanges(tls, clock, (renewed) => secure.setSecureContext(contextFrom(renewed))),
  };
}

/**
 * Hands each request to the app. What express and Node would do for every request is done only for those that need it: the
 * app has a last resort of its own, and needs none made by express; and who has taken its answer already needs no timer.
 * Responses of a server that is closing say `Connection: close`, so that no proxy sends a request into a connection that
 * is about to be cut.
 */
function answerRequests(
  server: Server,
  { app, answerHot }: ApiApp,
  { idleTimeoutMs, isClosing }: { readonly idleTimeoutMs: number; readonly isClosing: () => boolean },
): void {
  const limitIdle = (request: IncomingMessage, response: ServerResponse): void => {
    if (!response.writableFinished) request.socket.setTimeout(idleTimeoutMs);
  };
  server.on('request', (request: Request, response: Response) => {
    if (isClosing()) response.shouldKeepAlive = false;
    if (!answerHot(request, response)) app(request, response, () => response.destroy());
    limitIdle(request, response);
  });
  // Node would answer the same, without a limit on how long its answer may wait to be taken.
  server.on('checkExpectation', (request: Request, response: Response) => {
    waitForTurn(request, response, () => response.writeHead(417).end());
    limitIdle(request, response);
  });
}

function contextFrom({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}

function bound(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(refused(error, host, port)));
    server.listen({ port, host, backlog: BACKLOG }, resolve);
  });
}

function refused(error: NodeJS.ErrnoException, host: string, port: number): AnyserveError {
  const where = `${host}:${port}`;
  const reasons: Partial<Record<string, string>> = {
    EADDRINUSE: `${where} is taken by another process; stop that one, or choose a port with --port (0 picks a free one)`,
    EACCES: `${where} needs more rights than this process has; choose a port over 1023 with --port`,
    EADDRNOTAVAIL: `${host} is no address of this machine; choose one with --host`,
    ENOTFOUND: `${host} is no host name that this machine knows; choose one with --host`,
  };
  const message = reasons[error.code ?? ''] ?? `cannot listen on ${where}: ${getErrorMessage(error)}`;
  return new AnyserveError('failed', message, { cause: error });
}
