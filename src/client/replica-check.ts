import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { toSocketAddress } from '../core/endpoint.js';
import type { Endpoint } from '../core/ids.js';
import { type ClientTls, MIN_TLS_VERSION } from '../core/tls.js';
import { createTlsVerification } from '../http/tls-verification.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { raceWithAbort } from './async-waits.js';
import { callGrpc } from './grpc-call.js';
import { toUrlAuthority } from './probe.js';

/** How long something may take to show which protocol it speaks. */
const HTTP1_LIMIT_MS = 1000;

const HTTP1_REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

/** A socket to an endpoint, over TLS where that is given, with a server that has a certificate for the endpoint's host. */
export function openSocket(endpoint: Endpoint, tls: ClientTls | undefined, protocol: 'h2' | 'http/1.1'): Socket {
  const address = toSocketAddress(endpoint);
  if (!tls) return connect(address);
  const host = 'path' in address ? 'localhost' : address.host;
  const name = isIP(host) === 0 ? { servername: host } : {};
  const security = { ...tls, ...createTlsVerification(tls), minVersion: MIN_TLS_VERSION } as const;
  return connectTls({ ...address, ...name, ...security, ALPNProtocols: [protocol] });
}

/** HTTP/2 over a socket. */
export function openSession(endpoint: Endpoint, socket: Socket): ClientHttp2Session {
  return connectHttp2(`http://${toUrlAuthority(endpoint) ?? 'localhost'}`, { createConnection: () => socket });
}

/** Whether something answers a request of HTTP/1.1; asked when it does not speak HTTP/2, to say what is wrong. */
export function speaksHttp1(endpoint: Endpoint, tls: ClientTls | undefined): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = openSocket(endpoint, tls, 'http/1.1');
    const settle = (speaks: boolean): void => {
      socket.destroy();
      resolve(speaks);
    };
    socket.setTimeout(HTTP1_LIMIT_MS, () => settle(false));
    socket.once('data', (chunk: Buffer) => settle(chunk.toString('latin1').startsWith('HTTP/1.')));
    socket.once('error', () => settle(false));
    socket.once('close', () => settle(false));
    socket.write(HTTP1_REQUEST);
  });
}

/**
 * Whether a replica is dead as far as a new connection can tell: its host or its process does not answer within the
 * time. A refused connection is an answer: its kernel is alive, and would have ended the connections of a dead process.
 */
export async function isUnresponsive(
  endpoint: Endpoint,
  tls: ClientTls | undefined,
  limitMs: number,
): Promise<boolean> {
  const limit = AbortSignal.timeout(limitMs);
  const socket = openSocket(endpoint, tls, 'h2');
  const session = openSession(endpoint, socket);
  try {
    const failed = new Promise<never>((_resolve, reject) => {
      socket.on('error', reject);
      session.on('error', reject);
    });
    const call = callGrpc(session, INFERENCE_SERVICE.serverLive, {});
    const { status, response } = await raceWithAbort(Promise.race([call, failed]), limit);
    return status === 0 ? response?.live !== true : !SAYS_NO.has(status ?? UNIMPLEMENTED);
  } catch (error) {
    return limit.aborted || NOT_REACHED.has((error as NodeJS.ErrnoException).code ?? '');
  } finally {
    session.destroy();
    socket.destroy();
  }
}

const UNIMPLEMENTED = 12;

/** Statuses of a server that is there, and does not tell strangers: permission denied, unauthenticated. */
const SAYS_NO: ReadonlySet<number> = new Set([7, 16]);

/** What the system says of a host that does not answer. */
const NOT_REACHED: ReadonlySet<string> = new Set(['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN']);
