import type { Http2Server, ServerHttp2Stream, Settings } from 'node:http2';
import type { SecureContextOptions } from 'node:tls';
import { Server, ServerCredentials, type ServerInterceptingCallInterface, type ServerOptions } from '@grpc/grpc-js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';
import { FLOW_CONTROL_WINDOW_BYTES } from '../inference/service-definition.js';

/*
 * Everything that goes beyond the public API of @grpc/grpc-js: large flow-control windows, certificates that change while
 * the server runs, and limits on the data that a call reads before its message is complete.
 */

/** Maximum size of a call's headers and metadata. gRPC libraries send at most half as much. */
const MAX_HEADER_BYTES = 16 * 1024;

/** Private fields of grpc-js's server. */
interface ServerInternals {
  readonly commonServerOptions?: { settings?: Settings };
  readonly http2Servers?: ReadonlyMap<Http2Server, unknown>;
}

/**
 * Creates a gRPC server that receives large messages without stalls. grpc-js's option for the window size has no effect
 * on servers (grpc-node's pull request 3058 would change that). If a new version of grpc-js moves these fields, the
 * server still works, with the slower default window; a test detects this.
 */
export function createLargeWindowServer(options: ServerOptions): {
  readonly server: Server;
  readonly enlargeWindows: () => Http2Server[];
} {
  const server = new Server(options);
  const internals = server as unknown as ServerInternals;
  if (internals.commonServerOptions) {
    internals.commonServerOptions.settings = {
      ...internals.commonServerOptions.settings,
      initialWindowSize: FLOW_CONTROL_WINDOW_BYTES,
      maxHeaderListSize: MAX_HEADER_BYTES,
    };
  }
  return {
    server,
    /** Enlarges the windows of connections, and returns the listening HTTP/2 servers. Call it once the server listens. */
    enlargeWindows() {
      const listeners = [...(internals.http2Servers?.keys() ?? [])];
      for (const listener of listeners) {
        listener.on('session', (session) => session.setLocalWindowSize(FLOW_CONTROL_WINDOW_BYTES));
      }
      return listeners;
    },
  };
}

/** Timeout for the TLS handshake, in ms. */
const TLS_HANDSHAKE_TIMEOUT_MS = 10_000;

/** Server credentials whose certificate can be replaced. Those of grpc-js always keep the first certificate. */
export class ReloadableCredentials extends ServerCredentials {
  /** Callers need a certificate if `tls.ca` is set now. Later updates can change the authorities, but not this rule. */
  constructor(tls: ServerTls) {
    const requestCert = tls.ca !== undefined;
    // grpc-js passes these options on to Node's TLS server.
    const serverOptions = {
      requestCert,
      rejectUnauthorized: requestCert,
      handshakeTimeout: TLS_HANDSHAKE_TIMEOUT_MS,
    };
    super(serverOptions, toSecureContextOptions(tls));
  }

  /** Replaces the certificate for new connections. */
  update(tls: ServerTls): void {
    this.updateSecureContextOptions(toSecureContextOptions(tls));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function toSecureContextOptions({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}

/** The status that ends a call. */
export interface CallStatus {
  readonly code: number;
  readonly details: string;
}

/**
 * Private fields of a grpc-js call. grpc-js has no other way to limit what it reads and decompresses before it delivers a
 * message. If a version of grpc-js has moved them, {@link getGrpcJsCall} returns undefined and every call is rejected.
 */
export interface GrpcJsCall {
  readonly stream: ServerHttp2Stream;
  /** Whether the caller has finished sending. */
  readonly receivedHalfClose: boolean;
  decoder: { write(data: Buffer): Buffer[] };
  /** Called once per message in order, immediately after the decoder has returned it. The message has its 5-byte header. */
  decompressMessage(message: Buffer, encoding: string): unknown;
  sendStatus(status: CallStatus): void;
  sendMessage(message: unknown, onSent: () => void): void;
}

/** Returns the private fields of the call that grpc-js passes to the first interceptor, or undefined if they differ. */
export function getGrpcJsCall(call: ServerInterceptingCallInterface): GrpcJsCall | undefined {
  const internals = call as unknown as Partial<GrpcJsCall>;
  const isSupported =
    typeof internals.stream?.push === 'function' &&
    typeof internals.decoder?.write === 'function' &&
    typeof internals.decompressMessage === 'function' &&
    typeof internals.receivedHalfClose === 'boolean';
  return isSupported ? (call as unknown as GrpcJsCall) : undefined;
}
