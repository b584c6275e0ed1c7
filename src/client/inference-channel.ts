import {
  type ChannelOptions,
  connectivityState,
  Client as GrpcClient,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { AnyserveError, codeFromGrpcStatus, messageOf } from '../core/errors.js';
import { type Endpoint, parseDialable } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import { grpcOptions } from '../wire/grpc-options.js';
import type { AnswerMessage, PartMessage, RequestMessage } from '../wire/inference-message.js';
import { INFERENCE_SERVICE, type Method, STATUS_ON_STREAM_ERROR } from '../wire/inference-service.js';
import { channelSecurity } from './channel-credentials.js';
import { reach } from './reach.js';
import { tlsFailure } from './tls-failure.js';

/** What every call on a channel is told. */
export interface CallOptions {
  /** When the call must have ended, in milliseconds since 1970. */
  readonly deadlineEpochMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** What a channel needs, and how its calls are made. */
export interface InferenceChannelOptions {
  readonly maxMessageBytes: number;
  readonly clock: Clock;
  /** The bearer token to show with each call, looked up for it. */
  readonly token?: (() => string) | undefined;
  /** Whom to trust and what to show; plain text is spoken unless told. */
  readonly tls?: ClientTls | undefined;
}

/** How long a connection may take to come about; what does not answer by then is as good as dead. */
const CONNECT_TIMEOUT_MS = 3000;

/** The Open Inference Protocol over one connection to one replica. Failures are thrown with the gRPC status's code. */
export class InferenceChannel {
  readonly endpoint: Endpoint;
  readonly #client: GrpcClient;
  readonly #clock: Clock;
  readonly #isSecure: boolean;
  readonly #token: InferenceChannelOptions['token'];

  /** Throws `usage` for an endpoint that cannot be dialled. */
  constructor(endpoint: string, { maxMessageBytes, clock, token, tls }: InferenceChannelOptions) {
    this.endpoint = parseDialable(endpoint);
    this.#clock = clock;
    this.#token = token;
    this.#isSecure = tls !== undefined;
    const security = channelSecurity(this.endpoint, tls);
    const options: ChannelOptions = {
      ...security.options,
      ...grpcOptions(maxMessageBytes),
      // The call goes straight to the replica, whatever proxy the environment names for other traffic.
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      // A channel of its own, so that closing it closes the connection.
      'grpc.use_local_subchannel_pool': 1,
    };
    this.#client = new GrpcClient(this.endpoint, security.credentials, options);
  }

  /** A call with one message each way. */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    { deadlineEpochMs: deadline, signal }: CallOptions,
  ): Promise<Response> {
    await this.#connected(deadline, signal);
    return new Promise((resolve, reject) => {
      const call = this.#client.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(),
        { deadline },
        (error, response) => {
          signal?.removeEventListener('abort', cancel);
          if (error) reject(this.#failure(error, signal));
          else resolve(response as Response);
        },
      );
      const cancel = (): void => call.cancel();
      signal?.addEventListener('abort', cancel, { once: true });
      if (signal?.aborted) cancel();
    });
  }

  /** One inference whose answer comes in parts. Leaving the loop cancels the call. */
  async *stream(
    request: RequestMessage,
    { deadlineEpochMs: deadline, signal }: CallOptions,
  ): AsyncGenerator<AnswerMessage> {
    const method = INFERENCE_SERVICE.modelStreamInfer;
    await this.#connected(deadline, signal);
    const metadata = this.#metadata();
    metadata.set(STATUS_ON_STREAM_ERROR, 'true');
    const call = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      metadata,
      {
        deadline,
      },
    );
    const cancel = (): void => call.cancel();
    signal?.addEventListener('abort', cancel, { once: true });
    if (signal?.aborted) cancel();
    try {
      call.write(request);
      call.end();
      for await (const { errorMessage, inferResponse } of call as AsyncIterable<PartMessage>) {
        if (errorMessage) throw new AnyserveError('unknown', `${this.endpoint}: ${errorMessage}`);
        if (inferResponse) yield inferResponse;
      }
    } catch (error) {
      throw error instanceof AnyserveError ? error : this.#failure(error as ServiceError, signal);
    } finally {
      signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  /** Takes no more calls; the connection closes with the last of those under way. */
  close(): void {
    this.#client.close();
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    if (this.#token) metadata.set('authorization', `Bearer ${this.#token()}`);
    return metadata;
  }

  /**
   * Waits until a connection is there or has failed, which the call itself then reports; but not as long as a call may
   * take, because an address may swallow every packet.
   */
  async #connected(deadline: number, signal: AbortSignal | undefined): Promise<void> {
    const channel = this.#client.getChannel();
    if (channel.getConnectivityState(false) === connectivityState.READY) return;
    const connectBy = this.#clock.epochMs() + CONNECT_TIMEOUT_MS;
    const limit = Math.min(connectBy, deadline);
    try {
      await reach(this.endpoint, limit - this.#clock.epochMs(), signal);
      for (;;) {
        signal?.throwIfAborted();
        const state = channel.getConnectivityState(true);
        if (state !== connectivityState.IDLE && state !== connectivityState.CONNECTING) return;
        const error = await this.#changed(channel, state, limit, signal);
        if (error) throw new AnyserveError('deadline_exceeded', `${this.endpoint}: no gRPC server answers there`);
      }
    } catch (error) {
      // Our own limit has passed and not the caller's: another replica may still do it in time.
      const isOurs = error instanceof AnyserveError && error.code === 'deadline_exceeded' && connectBy < deadline;
      throw isOurs ? new AnyserveError('unavailable', error.message, { cause: error }) : error;
    }
  }

  /** Waits until the state is another; resolves with an error when it is not by then. */
  #changed(
    channel: ReturnType<GrpcClient['getChannel']>,
    state: connectivityState,
    byEpochMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Error | undefined> {
    return new Promise((resolve) => {
      const onAbort = (): void => resolve(undefined);
      signal?.addEventListener('abort', onAbort, { once: true });
      channel.watchConnectivityState(state, byEpochMs, (error) => {
        signal?.removeEventListener('abort', onAbort);
        resolve(error);
      });
    });
  }

  /** What to make of a connection that the other end closes without a word, which the gRPC library reports at length. */
  #noConnection(details: string): string | undefined {
    if (!details.startsWith('No connection established. Last error: Failed to connect')) return undefined;
    const advice = this.#isSecure ? 'does it take the certificate of --tls-cert?' : 'does it speak TLS? see --tls';
    return `it closes the connection at once; ${advice}`;
  }

  #failure(error: ServiceError, signal: AbortSignal | undefined): unknown {
    if (signal?.aborted) return signal.reason;
    const code = typeof error.code === 'number' ? codeFromGrpcStatus(error.code) : 'internal';
    const details = tlsFailure(error.details) ?? this.#noConnection(error.details) ?? messageOf(error.details || error);
    return new AnyserveError(code, `${this.endpoint}: ${details}`, { cause: error });
  }
}
