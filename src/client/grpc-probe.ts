import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { addressOf } from '../core/endpoint.js';
import { AnyserveError, codeFromGrpcStatus, type ErrorCode, messageOf } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import { type ClientTls, MIN_TLS_VERSION } from '../core/tls.js';
import { HEALTH_CHECK } from '../wire/health-service.js';
import { type CallableMethod, INFERENCE_SERVICE } from '../wire/inference-service.js';
import { grpcCall } from './grpc-call.js';
import { ANSWER_LIMIT_MS, asProbed, authorityOf, type Probe } from './probe.js';
import { connectionFailure } from './reach.js';
import { tlsFailure } from './tls-failure.js';
import { tlsVerification } from './tls-verification.js';
import { unlessAborted } from './unless-aborted.js';

/** How a server answers that does not have a method, or does not tell strangers. */
const SAYS_NOTHING: ReadonlySet<ErrorCode> = new Set([
  'unimplemented',
  'not_found',
  'permission_denied',
  'unauthenticated',
]);

/**
 * Healthy: the gRPC health service says so; where there is none, the inference service's `ServerReady`; where there is
 * neither, the connection. What answers in another protocol has taken a connection, too. But a server that says nothing
 * at all may hang, and one that has spoken HTTP/2 before must go on.
 */
export function grpcProbe(endpoint: Endpoint, tls?: () => ClientTls): Probe {
  let hasSpoken = false;
  return async (signal) => {
    const limit = AbortSignal.timeout(ANSWER_LIMIT_MS);
    const ended = AbortSignal.any([limit, signal]);
    const socket = tls ? secureSocket(endpoint, tls()) : connect(addressOf(endpoint));
    const session = connectHttp2(`http://${authorityOf(endpoint) ?? 'localhost'}`, { createConnection: () => socket });
    const end = (): void => session.destroy();
    ended.addEventListener('abort', end, { once: true });
    let isConnected = false;
    socket.once('connect', () => {
      isConnected = true;
    });
    try {
      signal.throwIfAborted();
      await unlessAborted(begun(session, socket), ended);
      hasSpoken = true;
      await unlessAborted(askHealth(endpoint, session), ended);
    } catch (error) {
      if (error instanceof AnyserveError) throw error;
      const refusal = tls && tlsFailure(error);
      if (refusal) throw new AnyserveError('unknown', `${endpoint}: ${refusal}`, { cause: error });
      if (!hasSpoken && !tls && socket.bytesRead > 0) return;
      if (!isConnected && !ended.aborted) throw asProbed(connectionFailure(endpoint, error));
      const reason = ended.aborted ? 'no answer in time' : messageOf(error);
      const advice = isConnected && !hasSpoken ? '; if it speaks no gRPC, choose --probe tcp or --probe http' : '';
      throw new AnyserveError('deadline_exceeded', `${endpoint}: ${reason}${advice}`, { cause: error });
    } finally {
      session.destroy();
      socket.destroy();
    }
  };
}

/** A socket that speaks TLS, and HTTP/2 in it, with a server that has a certificate for the endpoint's host. */
function secureSocket(endpoint: Endpoint, tls: ClientTls): Socket {
  const address = addressOf(endpoint);
  const host = 'path' in address ? 'localhost' : address.host;
  const name = isIP(host) === 0 ? { servername: host } : {};
  const security = { ...tls, ...tlsVerification(tls), minVersion: MIN_TLS_VERSION } as const;
  return connectTls({ ...address, ...name, ...security, ALPNProtocols: ['h2'] });
}

/** Waits for the first words of the other end, by which it is known to speak HTTP/2. */
function begun(session: ClientHttp2Session, socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    // A session says nothing of what goes wrong with TLS once that is spoken.
    socket.on('error', reject);
    session.once('remoteSettings', () => resolve());
    // What goes wrong later is told by the call that it goes wrong for.
    session.on('error', reject);
    session.once('close', () => reject(new Error('the connection was closed')));
  });
}

async function askHealth(endpoint: Endpoint, session: ClientHttp2Session): Promise<void> {
  const isServing =
    (await ask(endpoint, session, HEALTH_CHECK, undefined)) ??
    (await ask(endpoint, session, INFERENCE_SERVICE.serverReady, {}))?.ready;
  if (isServing === false) throw new AnyserveError('unavailable', `${endpoint}: says that it is not ready`);
}

/** What a server answers to a question; undefined when it says nothing of it. */
async function ask<Request, Response>(
  endpoint: Endpoint,
  session: ClientHttp2Session,
  method: CallableMethod<Request, Response>,
  request: Request,
): Promise<Response | undefined> {
  const { status, details, response } = await grpcCall(session, method, request);
  if (status === undefined || status === 0) return response;
  const code = codeFromGrpcStatus(status);
  if (SAYS_NOTHING.has(code)) return undefined;
  throw new AnyserveError(code, `${endpoint}: ${method.path} ends with ${details || code}`);
}
