import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { SecureContextOptions } from 'node:tls';
import { AnyserveError, messageOf } from '../core/errors.js';
import { isLoopback } from '../core/loopback.js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';
import { follow } from '../credentials/follow.js';
import { type AppOptions, createApp } from './app.js';
import { answerClientError } from './client-error.js';

/** Where an API server listens, besides what its app needs. */
export interface ApiServerOptions extends AppOptions {
  /** A host name or address of this machine. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  /** What is shown to callers, as it is now; plain HTTP is spoken unless told. */
  readonly tls?: (() => ServerTls) | undefined;
}

/** An API server that listens. */
export interface ApiServer {
  /** Where it listens: `http://127.0.0.1:8080`, or `https` and so on. */
  readonly url: string;
  readonly port: number;
  /** Ends every lease and every connection; resolves when all are closed. */
  close(): Promise<void>;
}

/** How long a caller may take until it is known to speak TLS. */
const HANDSHAKE_LIMIT_MS = 10_000;

/** Starts to listen; resolves once requests are taken. Throws `failed` when the address cannot be had. */
export async function listen(options: ApiServerOptions): Promise<ApiServer> {
  const { host, port, registry, log, tls, tokens } = options;
  const { server, unfollow } = serverFor(createApp(options), options);
  server.on('clientError', answerClientError);
  await bound(server, host, port);
  if (!isLoopback(host) && !tokens?.register && !tls?.().ca) {
    log.warn(`whoever reaches ${host} can register replicas; ask for a token with --register-token-file`);
  }
  const address = server.address() as AddressInfo;
  const shownHost = address.family === 'IPv6' ? `[${address.address}]` : address.address;
  return {
    url: `${tls ? 'https' : 'http'}://${shownHost}:${address.port}`,
    port: address.port,
    async close() {
      unfollow();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      await registry.close();
      server.closeIdleConnections();
      // One turn for what is being answered right now; whoever reads too slowly is cut off.
      setImmediate(() => server.closeAllConnections());
      await closed;
    },
  };
}

/** A server that does not listen yet, and what ends its looking out for another certificate. */
function serverFor(
  app: RequestListener,
  { tls, clock }: Pick<ApiServerOptions, 'tls' | 'clock'>,
): { readonly server: Server; readonly unfollow: () => void } {
  if (!tls) return { server: createServer(app), unfollow: () => {} };
  const asksForCertificate = tls().ca !== undefined;
  const secure = createHttpsServer(
    {
      ...contextFrom(tls()),
      requestCert: asksForCertificate,
      rejectUnauthorized: asksForCertificate,
      handshakeTimeout: HANDSHAKE_LIMIT_MS,
    },
    app,
  );
  return { server: secure, unfollow: follow(tls, clock, (renewed) => secure.setSecureContext(contextFrom(renewed))) };
}

function contextFrom({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}

function bound(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(refused(error, host, port)));
    server.listen(port, host, resolve);
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
  const message = reasons[error.code ?? ''] ?? `cannot listen on ${where}: ${messageOf(error)}`;
  return new AnyserveError('failed', message, { cause: error });
}
