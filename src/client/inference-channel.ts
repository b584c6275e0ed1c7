import {
  type ChannelOptions,
  connectivityState,
  Client as GrpcClient,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { grpcTarget, parseDialable } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import { grpcOptions } from '../wire/grpc-options.js';
import type { AnswerMessage, PartMessage, RequestMessage } from '../wire/inference-message.js';
import { INFERENCE_SERVICE, type Method, STATUS_ON_STREAM_ERROR } from '../wire/inference-service.js';
import { callFailure } from './call-failure.js';
import type { Cancellation } from './cancellation.js';
import { channelSecurity } from './channel-credentials.js';
import { reach } from './reach.js';
import { UnaryCall } from './unary-call.js';

/** What every call on a channel is told. */
export interface CallOptions {
  /** When the call must have ended, in milliseconds since 1970. */
  readonly deadlineEpochMs: number;
  readonly cancellation?: Cancellation | undefined;
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

const NO_METADATA = new Metadata();

/** The Open Inference Protocol over one connection to one replica. Failures are thrown with the gRPC status's code. */
export class InferenceChannel {
  readonly endpoint: Endpoint;
  readonly #client: GrpcClient;
  readonly #clock: Clock;
  readonly #isSecure: boolean;
  readonly #token: InferenceChannelOptions['token'];
  readonly #maxMessageBytes: number;
  #users = 0;
  /** Whether it is to be closed as soon as nobody uses it. */
  #isLeft = false;
  #isClosed = false;

  /** Throws `usage` for an endpoint that cannot be dialled. */
  constructor(endpoint: string, { maxMessageBytes, clock, token, tls }: InferenceChannelOptions) {
    this.endpoint = parseDialable(endpoint);
    this.#clock = clock;
    this.#token = token;
    this.#maxMessageBytes = maxMessageBytes;
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
    this.#client = new GrpcClient(grpcTarget(this.endpoint), security.credentials, options);
  }

  /** A call with one message each way. */
  call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    if (this.#isConnected()) return this.#send(method, request, options);
    return this.#connected(options).then(() => this.#send(method, request, options));
  }

  #send<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    { deadlineEpochMs, cancellation }: CallOptions,
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      cancellation?.throwIfCancelled();
      const bytes = this.#sendable(method.requestSerialize(request));
      const call = new UnaryCall(this.#client.getChannel(), method, deadlineEpochMs, (error, response) => {
        if (error) reject(this.#failure(error, cancellation));
        else resolve(response as Response);
      });
      if (cancellation) cancellation.stop = () => call.cancel();
      call.start(this.#metadata(), bytes);
    });
  }

  /** One inference whose answer comes in parts. Leaving the loop cancels the call. */
  async *stream(request: RequestMessage, options: CallOptions): AsyncGenerator<AnswerMessage> {
    const method = INFERENCE_SERVICE.modelStreamInfer;
    const { deadlineEpochMs, cancellation } = options;
    if (!this.#isConnected()) await this.#connected(options);
    cancellation?.throwIfCancelled();
    const metadata = this.#metadata().clone();
    metadata.set(STATUS_ON_STREAM_ERROR, 'true');
    const call = this.#client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      metadata,
      { deadline: deadlineEpochMs },
    );
    if (cancellation) cancellation.stop = () => call.cancel();
    try {
      call.write(request);
      call.end();
      for await (const { errorMessage, inferResponse } of call as AsyncIterable<PartMessage>) {
        if (errorMessage) throw new AnyserveError('unknown', `${this.endpoint}: ${errorMessage}`);
        if (inferResponse) yield inferResponse;
      }
    } catch (error) {
      throw error instanceof AnyserveError ? error : this.#failure(error as ServiceError, cancellation);
    } finally {
      call.cancel();
    }
  }

  /** Keeps it open until {@link release} though it is left. */
  acquire(): void {
    this.#users++;
  }

  release(): void {
    if (--this.#users === 0 && this.#isLeft) this.close();
  }

  /** Closes the connection when nobody uses it any more. */
  closeWhenUnused(): void {
    this.#isLeft = true;
    if (this.#users === 0) this.close();
  }

  /** Closes the connection; it ends with the last of the calls under way. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#client.close();
  }

  /** What is sent along with a call, which the library copies for it. */
  #metadata(): Metadata {
    if (!this.#token) return NO_METADATA;
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${this.#token()}`);
    return metadata;
  }

  /** The bytes of a request; throws `too_large`, which would be the same at every replica. */
  #sendable(bytes: Buffer): Buffer {
    if (bytes.length <= this.#maxMessageBytes) return bytes;
    const sizes = `the request has ${bytes.length} bytes, and at most ${this.#maxMessageBytes} are sent`;
    throw new AnyserveError('too_large', `${sizes}; see --max-message-bytes`);
  }

  #isConnected(): boolean {
    return this.#client.getChannel().getConnectivityState(false) === connectivityState.READY;
  }

  /**
   * Waits until a connection is there or has failed, which the call itself then reports; but not as long as a call may
   * take, because an address may swallow every packet.
   */
  async #connected({ deadlineEpochMs: deadline, cancellation }: CallOptions): Promise<void> {
    // Asked for its state, the library's channel would connect again, and never be closed.
    if (this.#isClosed) throw new AnyserveError('unavailable', `${this.endpoint}: the channel is closed`);
    const channel = this.#client.getChannel();
    const signal = cancellation?.signal;
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

  #failure(error: ServiceError, cancellation: Cancellation | undefined): unknown {
    if (cancellation?.isCancelled) return cancellation.reason;
    return callFailure(error, this.endpoint, { isSecure: this.#isSecure, maxMessageBytes: this.#maxMessageBytes });
  }
}
