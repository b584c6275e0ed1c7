import type { ClientHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { AnyserveError, type ErrorCode, getErrorMessage, toErrorCode } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { ClientTls } from '../core/tls.js';
import { HEALTH_CHECK_METHOD } from '../inference/health-service.js';
import { type ClientGrpcMethod, INFERENCE_SERVICE } from '../inference/service-definition.js';
import { raceWithAbort } from './async-waits.js';
import { callGrpc } from './grpc-call.js';
import { PROBE_RESPONSE_TIMEOUT_MS, type Probe, toProbeError } from './probe.js';
import { openSession, openSocket } from './replica-check.js';
import { toConnectionError } from './tcp-connect.js';
import { explainTlsError } from './tls-failure.js';

/** How a server answers that does not have a method, or does not tell strangers. */
const SAYS_NOTHING: ReadonlySet<ErrorCode> = new Set([
  'unimplemented',
  'not_found',
  'permission_denied',
  'unauthenticated',
]);

/** How a gRPC server is asked how it is. */
export interface GrpcProbeOptions {
  readonly tls?: (() => ClientTls) | undefined;
  /** A model that must be ready; the server as a whole when not given. */
  readonly model?: string | undefined;
}

/**
 * Healthy: the gRPC health service says so; where there is none, the inference service's `ServerReady`; where there is
 * neither, the connection. What answers in another protocol has taken a connection, too. But a server that says nothing
 * at all may hang, and one that has spoken HTTP/2 before must go on.
 */
export function createGrpcProbe(endpoint: Endpoint, { tls, model }: GrpcProbeOptions = {}): Probe {
  let hasSpoken = false;
  const questions = new Questions(endpoint, model);
  return async (signal) => {
    const limit = AbortSignal.timeout(PROBE_RESPONSE_TIMEOUT_MS);
    const ended = AbortSignal.any([limit, signal]);
    const socket = openSocket(endpoint, tls?.(), 'h2');
    const session = openSession(endpoint, socket);
    const end = (): void => session.destroy();
    ended.addEventListener('abort', end, { once: true });
    let isConnected = false;
    socket.once('connect', () => {
      isConnected = true;
    });
    try {
      signal.throwIfAborted();
      await raceWithAbort(begun(session, socket), ended);
      hasSpoken = true;
      await raceWithAbort(questions.ask(session), ended);
    } catch (error) {
      if (error instanceof AnyserveError) throw error;
      const refusal = tls && explainTlsError(error);
      if (refusal) throw new AnyserveError('unknown', `${endpoint}: ${refusal}`, { cause: error });
      if (!hasSpoken && !tls && model === undefined && socket.bytesRead > 0) return;
      // Another server may be there next time.
      questions.forget();
      if (!isConnected && !ended.aborted) throw toProbeError(toConnectionError(endpoint, error));
      const reason = ended.aborted ? 'no answer in time' : getErrorMessage(error);
      const advice = isConnected && !hasSpoken ? '; if it speaks no gRPC, choose --probe tcp or --probe http' : '';
      throw new AnyserveError('deadline_exceeded', `${endpoint}: ${reason}${advice}`, { cause: error });
    } finally {
      session.destroy();
      socket.destroy();
    }
  };
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

/** The questions to a server, without those that it is known not to understand. */
class Questions {
  readonly #endpoint: Endpoint;
  readonly #model: string | undefined;
  #hasHealth = true;
  #hasServerReady = true;

  constructor(endpoint: Endpoint, model: string | undefined) {
    this.#endpoint = endpoint;
    this.#model = model;
  }

  /** Asks all of them from now on. */
  forget(): void {
    this.#hasHealth = true;
    this.#hasServerReady = true;
  }

  /** Rejects with what is wrong. */
  async ask(session: ClientHttp2Session): Promise<void> {
    if (this.#model !== undefined) return this.#askModel(session, this.#model);
    if ((await this.#isServing(session)) !== false) return;
    throw new AnyserveError('unavailable', `${this.#endpoint}: says that it is not ready`);
  }

  /** What the server says of itself; undefined when it says nothing. */
  async #isServing(session: ClientHttp2Session): Promise<boolean | undefined> {
    if (this.#hasHealth) {
      const { response, isUnknown } = await this.#answer(session, HEALTH_CHECK_METHOD, undefined);
      this.#hasHealth = !isUnknown;
      if (response !== undefined) return response;
    }
    if (!this.#hasServerReady) return undefined;
    const { response, isUnknown } = await this.#answer(session, INFERENCE_SERVICE.serverReady, {});
    this.#hasServerReady = !isUnknown;
    return response?.ready;
  }

  async #askModel(session: ClientHttp2Session, name: string): Promise<void> {
    const { response, said } = await this.#answer(session, INFERENCE_SERVICE.modelReady, { name, version: '' });
    if (response?.ready) return;
    // Most servers answer the same for a model that is loading and for one that they do not have.
    const reason = response
      ? 'is not ready, or the server has no model of that name; see --probe-model'
      : `cannot be asked for (${said})`;
    throw new AnyserveError('unavailable', `${this.#endpoint}: model ${JSON.stringify(name)} ${reason}`);
  }

  /** What a server answers to a question; no response when it says nothing of it, and then whether it never will. */
  async #answer<Request, Response>(
    session: ClientHttp2Session,
    method: ClientGrpcMethod<Request, Response>,
    request: Request,
  ): Promise<{ readonly response: Response | undefined; readonly isUnknown: boolean; readonly said: string }> {
    const { status, details, response } = await callGrpc(session, method, request);
    if (status === undefined) return { response: undefined, isUnknown: false, said: 'no gRPC' };
    if (status === 0) return { response, isUnknown: false, said: '' };
    const code = toErrorCode(status);
    const said = details || code;
    if (SAYS_NOTHING.has(code)) return { response: undefined, isUnknown: code === 'unimplemented', said };
    throw new AnyserveError(code, `${this.#endpoint}: ${method.path} ends with ${said}`);
  }
}
