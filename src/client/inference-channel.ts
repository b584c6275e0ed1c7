import {
  type ChannelOptions,
  connectivityState,
  Client as GrpcClient,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { parseDialable, toGrpcTarget } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import { createGrpcOptions } from '../inference/grpc-options.js';
import type { RequestMessage, ResponseMessage, StreamResponseMessage } from '../inference/protocol-messages.js';
import { type GrpcMethod, INFERENCE_SERVICE, STATUS_ON_STREAM_ERROR_KEY } from '../inference/service-definition.js';
import { createNotGrpcError, isNotHttp2, toCallError } from './call-failure.js';
import type { Cancellation } from './cancellation.js';
import { createChannelSecurity } from './channel-credentials.js';
import { connectChannel } from './connect-channel.js';
import { isUnresponsive, speaksHttp1 } from './replica-check.js';
import { joinSmallFrames } from './small-frames.js';
import { StreamCall } from './stream-call.js';
import { type StreamTimeouts, StreamWatchdog } from './stream-watchdog.js';
import { UnaryCall } from './unary-call.js';

/** What every call on a channel is told. */
export interface CallOptions {
  /** When the call must have ended, in milliseconds since 1970. */
  readonly deadlineEpochMs: number;
  /** The time that it had, all attempts together, in milliseconds; for the message when it was not enough. */
  readonly timeoutMs?: number | undefined;
  /** Cancels this attempt of the call. */
  readonly cancellation?: Cancellation | undefined;
}

/** What a stream is told besides. */
export interface StreamOptions extends CallOptions {
  readonly limits: StreamTimeouts;
  /** Maximum size of all parts together. Default: no limit. */
  readonly maxAnswerBytes?: number | undefined;
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

/** How much sooner than the deadline either end may notice that it has passed. */
const EARLY_MS = 50;

/** How much of the message in a part that is an error is shown. */
const MAX_MESSAGE_CHARACTERS = 1000;

const NO_METADATA = new Metadata();

/** The Open Inference Protocol over one connection to one replica. Failures are thrown with the gRPC status's code. */
export class InferenceChannel {
  readonly endpoint: Endpoint;
  readonly #client: GrpcClient;
  readonly #clock: Clock;
  readonly #tls: ClientTls | undefined;
  readonly #token: InferenceChannelOptions['token'];
  readonly #maxMessageBytes: number;
  #users = 0;
  /** Whether it is to be closed as soon as nobody uses it. */
  #isLeft = false;
  #isClosed = false;

  /** Throws `usage` for an endpoint that cannot be dialled. */
  constructor(endpoint: string, { maxMessageBytes, clock, token, tls }: InferenceChannelOptions) {
    joinSmallFrames();
    this.endpoint = parseDialable(endpoint);
    this.#clock = clock;
    this.#token = token;
    this.#maxMessageBytes = maxMessageBytes;
    this.#tls = tls;
    const security = createChannelSecurity(this.endpoint, tls);
    const options: ChannelOptions = {
      ...security.options,
      ...createGrpcOptions(maxMessageBytes),
      // The call goes straight to the replica, whatever proxy the environment names for other traffic.
      'grpc.enable_http_proxy': 0,
      'grpc.enable_retries': 0,
      // A channel of its own, so that closing it closes the connection.
      'grpc.use_local_subchannel_pool': 1,
    };
    this.#client = new GrpcClient(toGrpcTarget(this.endpoint), security.credentials, options);
  }

  /**
   * Connects, and resolves when a call can be made; undefined when it can at once. Rejects with `unavailable` when the
   * replica cannot be reached, after 3 s at most: every question to it would fail in the same way, and as late.
   */
  connect({ deadlineEpochMs, cancellation }: CallOptions): Promise<void> | undefined {
    const channel = this.#client.getChannel();
    if (channel.getConnectivityState(false) === connectivityState.READY) return undefined;
    // Asked for its state, the library's channel would connect again, and never be closed.
    if (this.#isClosed)
      return Promise.reject(new AnyserveError('unavailable', `${this.endpoint}: the channel is closed`));
    return connectChannel(channel, this.endpoint, deadlineEpochMs, this.#clock, cancellation?.signal);
  }

  /** A call with one message each way. */
  call<Request, Response>(
    method: GrpcMethod<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    const connecting = this.connect(options);
    if (!connecting) return this.#send(method, request, options);
    return connecting.then(() => this.#send(method, request, options));
  }

  #send<Request, Response>(
    method: GrpcMethod<Request, Response>,
    request: Request,
    options: CallOptions,
  ): Promise<Response> {
    const { deadlineEpochMs, cancellation } = options;
    return new Promise((resolve, reject) => {
      cancellation?.throwIfCancelled();
      const bytes = this.#sendable(method.requestSerialize(request));
      const call = new UnaryCall(this.#client.getChannel(), method, deadlineEpochMs, (error, response) => {
        if (error) this.#failure(error, options).then(reject, reject);
        else resolve(response as Response);
      });
      if (cancellation) cancellation.stop = () => call.cancel();
      call.start(this.#metadata(), bytes);
    });
  }

  /** One inference whose answer comes in parts. Leaving the loop cancels the call. */
  async *stream(request: RequestMessage, options: StreamOptions): AsyncGenerator<ResponseMessage> {
    const method = INFERENCE_SERVICE.modelStreamInfer;
    const { deadlineEpochMs, cancellation, limits, maxAnswerBytes } = options;
    await this.connect(options);
    cancellation?.throwIfCancelled();
    const bytes = this.#sendable(method.requestSerialize(request));
    const metadata = this.#metadata().clone();
    metadata.set(STATUS_ON_STREAM_ERROR_KEY, 'true');
    const call = new StreamCall<StreamResponseMessage>(
      this.#client.getChannel(),
      method,
      deadlineEpochMs,
      maxAnswerBytes,
    );
    if (cancellation) cancellation.stop = () => call.cancel();
    const watchdog = new StreamWatchdog(this.#clock, limits);
    try {
      call.start(metadata, bytes);
      for (;;) {
        const part = await watchdog.next(call);
        if (!part) return;
        const { errorMessage, inferResponse } = part;
        if (errorMessage) throw new AnyserveError('unknown', errorMessage.slice(0, MAX_MESSAGE_CHARACTERS));
        if (inferResponse) yield inferResponse;
      }
    } catch (error) {
      throw error instanceof AnyserveError
        ? new AnyserveError(error.code, `${this.endpoint}: ${error.message}`, { cause: error })
        : await this.#failure(error as ServiceError, options);
    } finally {
      call.cancel();
    }
  }

  /** Whether the replica does not answer on a new connection either, within the time. */
  isSilent(limitMs: number): Promise<boolean> {
    return isUnresponsive(this.endpoint, this.#tls, limitMs);
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

  async #failure(error: ServiceError, { cancellation, ...call }: CallOptions): Promise<unknown> {
    if (cancellation?.isCancelled) return cancellation.reason;
    if (isNotHttp2(error) && (await speaksHttp1(this.endpoint, this.#tls)))
      return createNotGrpcError(error, this.endpoint);
    return toCallError(error, this.endpoint, {
      isSecure: this.#tls !== undefined,
      maxMessageBytes: this.#maxMessageBytes,
      timeoutMs: this.#clock.epochMs() >= call.deadlineEpochMs - EARLY_MS ? call.timeoutMs : undefined,
    });
  }
}
