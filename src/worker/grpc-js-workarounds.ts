import type { Http2Server, ServerHttp2Stream, Settings } from 'node:http2';
import type { SecureContextOptions } from 'node:tls';
import { Server, ServerCredentials, type ServerInterceptingCallInterface, type ServerOptions } from '@grpc/grpc-js';
import { MIN_TLS_VERSION, type ServerTls } from '../core/tls.js';
import { FLOW_CONTROL_WINDOW_BYTES } from '../inference/grpc-options.js';

/*
 * Everything that needs more of @grpc/grpc-js than its public API: large flow-control windows, certificates that change
 * while the server runs, and limits on what a call reads before its message is complete.
 */

/** Maximum size of a call's headers and metadata. gRPC's own libraries send at most half as much. */
const MAX_HEADER_BYTES = 16 * 1024;

/** Private fields of the library's server. */
interface ServerInside {
  readonly commonServerOptions?: { settings?: Settings };
  readonly http2Servers?: ReadonlyMap<Http2Server, unknown>;
}

/**
 * Creates a gRPC server that receives large messages without stalls. The library's option for the window size has no effect
 * on servers (grpc-node's pull request 3058 would change that). If a new version of the library moves these fields, the
 * server is only as slow as before; a test detects it.
 */
export function createLargeWindowServer(options: ServerOptions): {
  readonly server: Server;
  readonly widen: () => Http2Server[];
} {
  const server = new Server(options);
  const inside = server as unknown as ServerInside;
  if (inside.commonServerOptions) {
    inside.commonServerOptions.settings = {
      ...inside.commonServerOptions.settings,
      initialWindowSize: FLOW_CONTROL_WINDOW_BYTES,
      maxHeaderListSize: MAX_HEADER_BYTES,
    };
  }
  return {
    server,
    /** Call it once the server listens. Returns the HTTP/2 servers that do. */
    widen() {
      const listeners = [...(inside.http2Servers?.keys() ?? [])];
      for (const listener of listeners) {
        listener.on('session', (session) => session.setLocalWindowSize(FLOW_CONTROL_WINDOW_BYTES));
      }
      return listeners;
    },
  };
}

/** Timeout for the TLS handshake. */
const HANDSHAKE = { handshakeTimeout: 10_000 };

/** Server credentials whose certificate can be replaced; the library's own keep the first one. */
export class ReloadableCredentials extends ServerCredentials {
  /** Whether callers need a certificate is decided here; its authorities can change with each renewal. */
  constructor(tls: ServerTls) {
    const asksForCertificate = tls.ca !== undefined;
    // The library passes these options on to Node's server.
    const server = { requestCert: asksForCertificate, rejectUnauthorized: asksForCertificate, ...HANDSHAKE };
    super(server, contextFrom(tls));
  }

  /** Replaces the certificate for new connections. */
  renew(tls: ServerTls): void {
    this.updateSecureContextOptions(contextFrom(tls));
  }

  override _equals(other: ServerCredentials): boolean {
    return this === other;
  }
}

function contextFrom({ cert, key, ca }: ServerTls): SecureContextOptions {
  return { cert, key, ca, minVersion: MIN_TLS_VERSION };
}

/** A status that ends a call. */
export interface CallStatus {
  readonly code: number;
  readonly details: string;
}

/**
 * Private fields of a call of the library, which has no other way to limit what it reads and inflates before it delivers a
 * message. With a version of the library that has moved them, {@link getGrpcJsCall} returns undefined and each call is refused.
 */
export interface GrpcJsCall {
  readonly stream: ServerHttp2Stream;
  /** Whether the caller has sent everything. */
  readonly receivedHalfClose: boolean;
  decoder: { write(data: Buffer): Buffer[] };
  /** Called once for each message in order, right after the decoder returned it, with its 5-byte head. */
  decompressMessage(message: Buffer, encoding: string): unknown;
  sendStatus(status: CallStatus): void;
  sendMessage(message: unknown, onSent: () => void): void;
}

/** Returns the private fields of the call that the library gives its first interceptor; undefined if they are not as expected. */
export function getGrpcJsCall(call: ServerInterceptingCallInterface): GrpcJsCall | undefined {
  const inside = call as unknown as Partial<GrpcJsCall>;
  const isKnown =
    typeof inside.stream?.push === 'function' &&
    typeof inside.decoder?.write === 'function' &&
    typeof inside.decompressMessage === 'function' &&
    typeof inside.receivedHalfClose === 'boolean';
  return isKnown ? (call as unknown as GrpcJsCall) : undefined;
}
