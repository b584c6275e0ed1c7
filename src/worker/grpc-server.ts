import { type Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { ServerTls } from '../core/tls.js';
import { pollChanges } from '../credentials/poll-changes.js';
import type { TokenSet } from '../credentials/token-set.js';
import { countOpenFiles } from '../http/open-files.js';
import { createGrpcOptions } from '../inference/grpc-options.js';
import { createAuthInterceptor } from './auth-interceptor.js';
import { createCallLimits } from './call-limits.js';
import { ConnectionLimits } from './connection-limits.js';
import { createLargeWindowServer, ReloadableCredentials } from './grpc-js-workarounds.js';
import { createInferenceService, type InferenceServiceOptions, SERVED_METHODS } from './inference-service.js';
import { MemoryBudget } from './memory-budget.js';
import { addReflection } from './reflection.js';
import { addHealthService } from './serving-health.js';

/** Where a gRPC server listens, besides what its service needs. */
export interface GrpcServerOptions extends InferenceServiceOptions {
  /** A host name or address of this machine. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  readonly maxMessageBytes: number;
  /** How many bytes all requests together may hold. */
  readonly maxDecodingBytes: number;
  /** The tokens one of which a call must show; none is asked for unless told. */
  readonly callTokens?: (() => TokenSet) | undefined;
  /** What is shown to callers, as it is now; plain text is spoken unless told. */
  readonly tls?: (() => ServerTls) | undefined;
  readonly clock: Clock;
  /** Called when connections come near the limit of open files, with the reason, and with none when there is room again. */
  onFull(reason: string | undefined): void;
}

/** A gRPC server that listens. */
export interface GrpcServer {
  readonly port: number;
  /** Tells those who ask for the health, and those who watch it, whether calls are welcome. */
  setServing(serving: boolean): void;
  /** Takes no new connections or calls; resolves when those in flight are done. */
  finish(): Promise<void>;
  /** Ends every call at once. */
  abort(): void;
}

/** Maximum number of calls at once on one connection. */
const MAX_STREAMS_PER_CONNECTION = 1024;

/** How often a connection is pinged, and how long it may take to answer: a peer that lost its power closes nothing. */
const KEEPALIVE_MS = 60_000;
const KEEPALIVE_TIMEOUT_MS = 20_000;

/** Serves a worker's models, with the health and reflection services that gRPC's tools expect. Throws `failed`. */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { host, port, maxMessageBytes, callTokens, tls, clock } = options;
  const { server, widen } = createLargeWindowServer({
    ...createGrpcOptions(maxMessageBytes),
    'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
    'grpc.keepalive_time_ms': KEEPALIVE_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    interceptors: [
      createCallLimits({ budget: new MemoryBudget(options.maxDecodingBytes), maxMessageBytes, clock }),
      ...(callTokens ? [createAuthInterceptor(callTokens)] : []),
    ],
  });
  server.addService(SERVED_METHODS as unknown as ServiceDefinition, createInferenceService(options));
  const health = await addHealthService(server);
  await addReflection(server);
  const connections = new ConnectionLimits({ clock, files: await countOpenFiles(), onFull: options.onFull });
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const credentials = tls && new ReloadableCredentials(tls());
  const boundPort = await bound(server, address, credentials ?? ServerCredentials.createInsecure());
  for (const listener of widen()) connections.follow(listener);
  const unfollow = tls ? pollChanges(tls, clock, (renewed) => credentials?.renew(renewed)) : () => {};
  options.leaving.addEventListener('abort', () => health.leave(), { once: true });
  return {
    port: boundPort,
    setServing: (serving) => health.setServing(serving),
    finish() {
      unfollow();
      return new Promise((resolve, reject) => server.tryShutdown((error) => (error ? reject(error) : resolve())));
    },
    abort() {
      unfollow();
      server.forceShutdown();
    },
  };
}

function bound(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(refused(error, address));
      else resolve(port);
    });
  });
}

function refused(error: Error, address: string): AnyserveError {
  const text = getErrorMessage(error);
  // The gRPC library keeps the system's error code only in its text.
  const message = text.includes('EADDRINUSE')
    ? `${address} is taken by another process; stop that one, or choose a port with --port (0 picks a free one)`
    : `cannot listen on ${address}: ${text}`;
  return new AnyserveError('failed', message, { cause: error });
}
