import { readFile } from 'node:fs/promises';
import { BinaryReader } from '@bufbuild/protobuf/wire';
import {
  type handleServerStreamingCall,
  type Server,
  ServerCredentials,
  type ServerWritableStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { ServerTls } from '../core/tls.js';
import { follow } from '../credentials/follow.js';
import type { TokenSet } from '../credentials/token-set.js';
import { grpcOptions } from '../wire/grpc-options.js';
import { INFERENCE_SERVICE_NAME } from '../wire/inference-service.js';
import { callGuard } from './call-guard.js';
import { type InferenceServiceOptions, inferenceService, SERVED_METHODS } from './inference-service.js';
import { RenewedCredentials } from './renewed-credentials.js';
import { createWideServer } from './wide-server.js';

/** Where a gRPC server listens, besides what its service needs. */
export interface GrpcServerOptions extends InferenceServiceOptions {
  /** A host name or address of this machine. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  readonly maxMessageBytes: number;
  /** The tokens one of which a call must show; none is asked for unless told. */
  readonly callTokens?: (() => TokenSet) | undefined;
  /** What is shown to callers, as it is now; plain text is spoken unless told. */
  readonly tls?: (() => ServerTls) | undefined;
  readonly clock: Clock;
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

/** Serves a worker's models, with the health and reflection services that gRPC's tools expect. Throws `failed`. */
export async function listenGrpc(options: GrpcServerOptions): Promise<GrpcServer> {
  const { host, port, maxMessageBytes, callTokens, tls, clock } = options;
  const { server, widen } = createWideServer({
    ...grpcOptions(maxMessageBytes),
    ...(callTokens && { interceptors: [callGuard(callTokens)] }),
  });
  server.addService(SERVED_METHODS as unknown as ServiceDefinition, inferenceService(options));
  const health = await addHealth(server);
  await addReflection(server);
  const address = host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
  const credentials = tls && new RenewedCredentials(tls());
  const boundPort = await bound(server, address, credentials ?? ServerCredentials.createInsecure());
  widen();
  const unfollow = tls ? follow(tls, clock, (renewed) => credentials?.renew(renewed)) : () => {};
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

/** The health of a server, as gRPC's tools ask for it. */
interface Health {
  setServing(serving: boolean): void;
  /** Tells those who ask, and those who watch, that no new calls are welcome; the watching ends with it. */
  leave(): void;
}

async function addHealth(server: Server): Promise<Health> {
  const { HealthImplementation } = await import('grpc-health-check');
  const names = ['', INFERENCE_SERVICE_NAME];
  const health = new HealthImplementation(Object.fromEntries(names.map((name) => [name, 'SERVING' as const])));
  const watching = new Set<ServerWritableStream<unknown, unknown>>();
  health.addToServer({
    addService(definition, implementation) {
      const watch = implementation['watch'] as handleServerStreamingCall<unknown, unknown>;
      const followed: typeof watch = (call) => {
        watching.add(call);
        call.on('cancelled', () => watching.delete(call));
        watch(call);
      };
      server.addService(definition as ServiceDefinition, { ...implementation, watch: followed } as never);
    },
  });
  const setServing = (serving: boolean): void => {
    for (const name of names) health.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
  };
  return {
    setServing,
    leave() {
      setServing(false);
      // A load balancer watches for as long as there is something to watch, and would keep the server.
      for (const call of watching) call.end();
    },
  };
}

/**
 * Tells gRPC's tools the services. The description of ours is the one that the proto compiler made; what a loader of
 * proto files makes of it at run time has other names for map entries, which dynamic clients stumble over.
 */
async function addReflection(server: Server): Promise<void> {
  const [{ ReflectionService }, { service: health }, descriptorSet] = await Promise.all([
    import('@grpc/reflection'),
    import('grpc-health-check'),
    readFile(new URL('../../proto/open_inference.binpb', import.meta.url)),
  ]);
  const definitions = {
    inference: { fileDescriptorProtos: filesOf(descriptorSet) },
    health: { fileDescriptorProtos: health['Check']?.requestType.fileDescriptorProtos },
  };
  new ReflectionService(definitions as unknown as PackageDefinition).addToServer(server);
}

/** The files of an encoded `FileDescriptorSet`, each as bytes: its field 1. */
function filesOf(descriptorSet: Uint8Array): Buffer[] {
  const reader = new BinaryReader(descriptorSet);
  const files: Buffer[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) files.push(Buffer.from(reader.bytes()));
    else reader.skip(wireType);
  }
  return files;
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
  const text = messageOf(error);
  // The gRPC library keeps the system's error code only in its text.
  const message = text.includes('EADDRINUSE')
    ? `${address} is taken by another process; stop that one, or choose a port with --port (0 picks a free one)`
    : `cannot listen on ${address}: ${text}`;
  return new AnyserveError('failed', message, { cause: error });
}
