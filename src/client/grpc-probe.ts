import type { ClientHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { AnyserveError, type ErrorCode, getErrorMessage, toErrorCode } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import { type ClientTls, explainTlsError } from '../core/tls.js';
import { HEALTH_CHECK_METHOD } from '../inference/health-service.js';
import { type ClientGrpcMethod, INFERENCE_SERVICE } from '../inference/service-definition.js';
import { raceWithAbort } from './async-waits.js';
import { toConnectionError } from './connection-errors.js';
import { callGrpc } from './grpc-call.js';
import { PROBE_RESPONSE_TIMEOUT_MS, type Probe, toProbeError } from './probe.js';
import { openSession, openSocket } from './replica-check.js';

/** Error codes of a server that doesn't have the method, or doesn't allow us to call it. They don't mean unhealthy. */
const NO_INFORMATION_CODES: ReadonlySet<ErrorCode> = new Set([
  'unimplemented',
  'not_found',
  'permission_denied',
  'unauthenticated',
]);

/** Options of a gRPC probe. */
export interface GrpcProbeOptions {
  readonly tls?: (() => ClientTls) | undefined;
  /** Name of a model that must be ready. Default: the server as a whole must be ready. */
  readonly model?: string | undefined;
  /** Whether a server that responds in another protocol is not healthy. Default: false. */
  readonly requiresHttp2?: boolean | undefined;
}

/**
 * Creates a probe of a gRPC server. The server is healthy if the gRPC health service reports it; without that service, if
 * `ServerReady` of the inference service reports it; without either, if it accepts an HTTP/2 connection. A server that
 * responds in another protocol counts as healthy too, unless it has spoken HTTP/2 before or `requiresHttp2` is set. A server that
 * sends nothing at all counts as hanging.
 */
export function createGrpcProbe(
  endpoint: Endpoint,
  { tls, model, requiresHttp2 = false }: GrpcProbeOptions = {},
): Probe {
  let hasSpokenHttp2 = false;
  const query = new HealthQuery(endpoint, model);
  return async (signal) => {
    const limit = AbortSignal.timeout(PROBE_RESPONSE_TIMEOUT_MS);
    const ended = AbortSignal.any([limit, signal]);
    const socket = openSocket(endpoint, { tls: tls?.() }, 'h2');
    const session = openSession(endpoint, socket);
    const end = (): void => session.destroy();
    ended.addEventListener('abort', end, { once: true });
    let isConnected = false;
    socket.once('connect', () => {
      isConnected = true;
    });
    try {
      signal.throwIfAborted();
      await raceWithAbort(waitForSettings(session, socket), ended);
      hasSpokenHttp2 = true;
      await raceWithAbort(query.send(session), ended);
    } catch (error) {
      if (error instanceof AnyserveError) throw error;
      const tlsReason = tls && explainTlsError(error);
      if (tlsReason) throw new AnyserveError('unknown', `${endpoint}: ${tlsReason}`, { cause: error });
      if (!hasSpokenHttp2 && !tls && model === undefined && socket.bytesRead > 0) {
        if (!requiresHttp2) return;
        throw new AnyserveError('unknown', `${endpoint}: it responds, but not in gRPC; if it uses TLS, give --tls`);
      }
      // At the next probe, another server can have the endpoint.
      query.reset();
      if (!isConnected && !ended.aborted) throw toProbeError(toConnectionError(endpoint, error));
      const reason = ended.aborted ? 'no response in time' : getErrorMessage(error);
      const question = requiresHttp2
        ? `; is it a gRPC server${tls ? '' : ', and does it use TLS (--tls)'}?`
        : '; if it is not a gRPC server, choose --probe tcp or --probe http';
      const advice = isConnected && !hasSpokenHttp2 ? question : '';
      throw new AnyserveError('deadline_exceeded', `${endpoint}: ${reason}${advice}`, { cause: error });
    } finally {
      session.destroy();
      socket.destroy();
    }
  };
}

/** Waits for the server's HTTP/2 SETTINGS frame, which shows that it speaks HTTP/2. */
function waitForSettings(session: ClientHttp2Session, socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    // A TLS error after the handshake is reported by the socket only, not by the session.
    socket.on('error', reject);
    session.once('remoteSettings', () => resolve());
    // The listener stays: a later error is reported by the call that it affects, and must not be uncaught.
    session.on('error', reject);
    session.once('close', () => reject(new Error('the connection was closed')));
  });
}

/** Health requests to a server. Skips the methods that the server is known not to have. */
class HealthQuery {
  readonly #endpoint: Endpoint;
  readonly #model: string | undefined;
  #hasHealth = true;
  #hasServerReady = true;

  constructor(endpoint: Endpoint, model: string | undefined) {
    this.#endpoint = endpoint;
    this.#model = model;
  }

  /** Tries all methods again. */
  reset(): void {
    this.#hasHealth = true;
    this.#hasServerReady = true;
  }

  /** Resolves if the server is healthy. Rejects with the reason if it isn't. */
  async send(session: ClientHttp2Session): Promise<void> {
    if (this.#model !== undefined) return this.#checkModel(session, this.#model);
    if ((await this.#isServing(session)) !== false) return;
    throw new AnyserveError('unavailable', `${this.#endpoint}: the server reports that it is not ready`);
  }

  /** Returns the health that the server reports; undefined if it reports none. */
  async #isServing(session: ClientHttp2Session): Promise<boolean | undefined> {
    if (this.#hasHealth) {
      const { response, isUnimplemented } = await this.#call(session, HEALTH_CHECK_METHOD, undefined);
      this.#hasHealth = !isUnimplemented;
      if (response !== undefined) return response;
    }
    if (!this.#hasServerReady) return undefined;
    const { response, isUnimplemented } = await this.#call(session, INFERENCE_SERVICE.serverReady, {});
    this.#hasServerReady = !isUnimplemented;
    return response?.ready;
  }

  async #checkModel(session: ClientHttp2Session, name: string): Promise<void> {
    const { response, error } = await this.#call(session, INFERENCE_SERVICE.modelReady, { name, version: '' });
    if (response?.ready) return;
    // Most servers give the same response for a model that is loading and for a model that they don't have.
    const reason = response
      ? 'is not ready, or the server has no model of that name; see --probe-model'
      : `cannot be checked (${error})`;
    throw new AnyserveError('unavailable', `${this.#endpoint}: model ${JSON.stringify(name)} ${reason}`);
  }

  /**
   * Calls a method. Returns no response if the server gives no information, with whether the method is unimplemented.
   * Rejects with any other error of the server.
   */
  async #call<Request, Response>(
    session: ClientHttp2Session,
    method: ClientGrpcMethod<Request, Response>,
    request: Request,
  ): Promise<{ readonly response: Response | undefined; readonly isUnimplemented: boolean; readonly error: string }> {
    const { status, details, response } = await callGrpc(session, method, request);
    if (status === undefined) return { response: undefined, isUnimplemented: false, error: 'the response is not gRPC' };
    if (status === 0) return { response, isUnimplemented: false, error: '' };
    const code = toErrorCode(status);
    const error = details || code;
    if (NO_INFORMATION_CODES.has(code))
      return { response: undefined, isUnimplemented: code === 'unimplemented', error };
    throw new AnyserveError(code, `${this.#endpoint}: ${method.path} failed: ${error}`);
  }
}
