import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Endpoint } from '../core/ids.js';
import { type ClientTls, createTlsVerification, MIN_TLS_VERSION } from '../core/tls.js';
import type { AddressCheck } from '../http/engine-client/upstream-address.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { raceWithAbort } from './async-waits.js';
import { toSocketTarget } from './endpoint-connection.js';
import { callGrpc } from './grpc-call.js';
import { toUrlAuthority } from './probe.js';

/** Timeout for the response to an HTTP/1.1 request, in ms. */
const HTTP1_TIMEOUT_MS = 1000;

const HTTP1_REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

/** Security of the connections to a replica. */
export interface ConnectionSecurity {
  /** TLS settings. Undefined: plain text. */
  readonly tls: ClientTls | undefined;
  /** Decides which addresses are connected to. Default: all. */
  readonly checkAddress?: AddressCheck | undefined;
}

/** Opens a socket to an endpoint. With `tls`, uses TLS and verifies the certificate for the endpoint's host. */
export function openSocket(
  endpoint: Endpoint,
  { tls, checkAddress }: ConnectionSecurity,
  protocol: 'h2' | 'http/1.1',
): Socket {
  const address = toSocketTarget(endpoint, checkAddress);
  if (!tls) return connect(address);
  const host = 'path' in address ? 'localhost' : address.host;
  const name = isIP(host) === 0 ? { servername: host } : {};
  const security = { ...tls, ...createTlsVerification(tls), minVersion: MIN_TLS_VERSION } as const;
  return connectTls({ ...address, ...name, ...security, ALPNProtocols: [protocol] });
}

/** Opens an HTTP/2 session over a socket. */
export function openSession(endpoint: Endpoint, socket: Socket): ClientHttp2Session {
  return connectHttp2(`http://${toUrlAuthority(endpoint) ?? 'localhost'}`, { createConnection: () => socket });
}

/** Returns whether an endpoint speaks HTTP/1.1. Explains the failure of a server that doesn't speak HTTP/2. */
export function isHttp1Server(endpoint: Endpoint, security: ConnectionSecurity): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = openSocket(endpoint, security, 'http/1.1');
    const settle = (isHttp1: boolean): void => {
      socket.destroy();
      resolve(isHttp1);
    };
    socket.setTimeout(HTTP1_TIMEOUT_MS, () => settle(false));
    socket.once('data', (chunk: Buffer) => settle(chunk.toString('latin1').startsWith('HTTP/1.')));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
    socket.write(HTTP1_REQUEST);
  });
}

/**
 * Returns whether a replica's host or process doesn't respond on a new connection within the timeout. A refused connection
 * counts as a response: the kernel is alive, and would have closed the connections of a dead process.
 */
export async function isUnresponsive(
  endpoint: Endpoint,
  security: ConnectionSecurity,
  timeoutMs: number,
): Promise<boolean> {
  const timeout = AbortSignal.timeout(timeoutMs);
  const socket = openSocket(endpoint, security, 'h2');
  const session = openSession(endpoint, socket);
  try {
    const failure = new Promise<never>((_resolve, reject) => {
      socket.on('error', reject);
      session.on('error', reject);
    });
    const call = callGrpc(session, INFERENCE_SERVICE.serverLive, {});
    const { status, response } = await raceWithAbort(Promise.race([call, failure]), timeout);
    return status === UNAVAILABLE_STATUS || (status === 0 && response?.live !== true);
  } catch (error) {
    return timeout.aborted || UNREACHABLE_HOST_CODES.has((error as NodeJS.ErrnoException).code ?? '');
  } finally {
    session.destroy();
    socket.destroy();
  }
}

/** Number of the gRPC status UNAVAILABLE: a proxy responds in place of the replica. Any other status is from the replica. */
const UNAVAILABLE_STATUS = 14;

/** System errors for a host that doesn't respond. */
const UNREACHABLE_HOST_CODES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN']);
