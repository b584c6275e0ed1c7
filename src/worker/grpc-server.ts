import { type Server, ServerCredentials, type ServiceDefinition } from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { pollChanges } from '../core/poll-changes.js';
import type { Clock } from '../core/ports.js';
import type { ServerTls } from '../core/tls.js';
import type { TokenSet } from '../credentials/token-set.js';
import { countOpenFiles } from '../http/open-files.js';
import { createGrpcOptions } from '../inference/service-definition.js';
import { createAuthInterceptor } from './auth-interceptor.js';
import { createCallLimits } from './call-limits.js';
import { ConnectionLimits } from './connection-limits.js';
import { createLargeWindowServer, ReloadableCredentials } from './grpc-js-workarounds.js';
import { createInferenceService, type InferenceServiceOptions, SERVED_METHODS } from './inference-service.js';
import { MemoryBudget } from './memory-budget.js';
import { addReflection } from './reflection.js';
import { addHealthService } from './serving-health.js';

/** Options of a worker's gRPC server. */
export interface GrpcServerOptions extends InferenceServiceOptions {
  /** Host name or address of this machine to listen on. */
  readonly host: string;
  /** TCP port. 0 picks a free port. */
  readonly port: number;
  readonly maxMessageBytes: number;
  /** Maximum memory of all requests together, in bytes. */
  readonly maxDecodingBytes: number;
  /** Returns the accepted call tokens. Default: no token is required. */
  readonly callTokens?: (() => TokenSet) | undefined;
  /** Returns the current certificate and key. Default: no TLS. */
  readonly tls?: (() => ServerTls) | undefined;
  readonly clock: Clock;
  /**
   * Called with the reason when the number of connections approaches the limit of open files, and with undefined when
   * there is room again.
   */
  onFull(reason: string | undefined): void;
}

/** A listening gRPC server. */
export interface GrpcServer {
  readonly port: number;
  /** Sets the status that health checks and watches report. */
  setServing(serving: boolean): void;
  /** Stops accepting connections and calls, and resolves when the calls in flight have finished. */
  finish(): Promise<void>;
  /** Ends all calls immediately. */
  abort(): void;
}

/** Maximum number of concurrent calls on one connection. */
const MAX_STREAMS_PER_CONNECTION = 1024;

/** Interval between keepalive pings, in ms. Without pings, a peer that lost power would never be detected. */
const KEEPALIVE_INTERVAL_MS = 60_000;

/** Timeout for the reply to a keepalive ping, in ms. */
const KEEPALIVE_TIMEOUT_MS = 20_000;

/**
 * Starts a gRPC server with a worker's models and with the health and reflection services that gRPC tools expect. Throws
 * `failed` if it cannot listen.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { host, port, maxMessageBytes, callTokens, tls, clock } = options;
  const { server, enlargeWindows } = createLargeWindowServer({
    ...createGrpcOptions(maxMessageBytes),
    'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
    'grpc.keepalive_time_ms': KEEPALIVE_INTERVAL_MS,
    'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
    interceptors: [
      createCallLimits({
        budget: new MemoryBudget(options.maxDecodingBytes),
        maxMessageBytes,
        clock,
        metrics: options.metrics,
      }),
      ...(callTokens ? [createAuthInterceptor(callTokens)] : []),
    ],
  });
  server.addService(SERVED_METHODS as unknown as ServiceDefinition, createInferenceService(options));
  const health = await addHealthService(server);
  await addReflection(server);
  const connections = new ConnectionLimits({ clock, files: await countOpenFiles(), onFull: options.onFull });
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const credentials = tls && new ReloadableCredentials(tls());
  const boundPort = await bindServer(server, address, credentials ?? ServerCredentials.createInsecure());
  for (const listener of enlargeWindows()) connections.attach(listener);
  const stopPolling = tls ? pollChanges(tls, clock, (changed) => credentials?.update(changed)) : () => {};
  options.leaving.addEventListener('abort', () => health.leave(), { once: true });
  return {
    port: boundPort,
    setServing: (serving) => health.setServing(serving),
    finish() {
      stopPolling();
      return new Promise((resolve, reject) => server.tryShutdown((error) => (error ? reject(error) : resolve())));
    },
    abort() {
      stopPolling();
      server.forceShutdown();
    },
  };
}

/** Binds the server and resolves to its port. */
function bindServer(server: Server, address: string, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, credentials, (error, port) => {
      if (error) reject(createBindError(error, address));
      else resolve(port);
    });
  });
}

function createBindError(error: Error, address: string): AnyserveError {
  const text = getErrorMessage(error);
  // grpc-js reports the system's error code only in the error's message.
  const message = text.includes('EADDRINUSE')
    ? `${address} is taken by another process; stop that one, or choose a port with --port (0 picks a free one)`
    : `cannot listen on ${address}: ${text}`;
  return new AnyserveError('failed', message, { cause: error });
}
