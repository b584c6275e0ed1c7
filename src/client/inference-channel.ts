import { Metadata, type ServiceError } from '@grpc/grpc-js';
import { parseDialable } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import type { Endpoint } from '../core/ids.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import type { AddressCheck } from '../http/engine-client/upstream-address.js';
import type { RequestMessage, ResponseMessage, StreamResponseMessage } from '../inference/protocol-messages.js';
import { type GrpcMethod, INFERENCE_SERVICE, STATUS_ON_STREAM_ERROR_KEY } from '../inference/service-definition.js';
import { readLoad } from './balancing/known-load.js';
import { createNotGrpcError, isNotHttp2Error, toCallError } from './call-failure.js';
import type { Cancellation } from './cancellation.js';
import { connectChannel } from './connect-channel.js';
import { PinnedClient } from './pinned-client.js';
import { type ConnectionSecurity, isHttp1Server, isUnresponsive } from './replica-check.js';
import { joinSmallFrames } from './small-frames.js';
import { StreamCall } from './stream-call.js';
import { type StreamTimeouts, StreamWatchdog } from './stream-watchdog.js';
import { UnaryCall } from './unary-call.js';

/** Options of a call on a channel. */
export interface CallOptions {
  /** Deadline of the call, in ms since 1970. */
  readonly deadlineEpochMs: number;
  /** Timeout of the call with all its attempts, in ms. Used in the message when the deadline passes. */
  readonly timeoutMs?: number | undefined;
  /** Cancels this attempt of the call. */
  readonly cancellation?: Cancellation | undefined;
  /** Metadata to send with the call. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Called with the load that a response reports. */
  readonly onLoad?: ((load: ReplicaLoad) => void) | undefined;
}

/** Options of a streaming call on a channel. */
export interface StreamOptions extends CallOptions {
  readonly timeouts: StreamTimeouts;
  /** Maximum size of all messages of the stream together, in bytes. Default: no limit. */
  readonly maxTotalBytes?: number | undefined;
}

/** Options of an {@link InferenceChannel}. */
export interface InferenceChannelOptions {
  readonly maxMessageBytes: number;
  readonly clock: Clock;
  /** Returns the bearer token. Called for each call. */
  readonly token?: (() => string) | undefined;
  /** TLS settings. Default: plain text. */
  readonly tls?: ClientTls | undefined;
  /** Decides which addresses are connected to. Default: all. */
  readonly checkAddress?: AddressCheck | undefined;
}

/** Tolerance for a deadline that either end reports too early, in ms. */
const EARLY_DEADLINE_TOLERANCE_MS = 50;

/** Maximum number of characters shown of an error message in a stream. */
const MAX_ERROR_CHARACTERS = 1000;

const NO_METADATA = new Metadata();

/** A connection to one replica that speaks the Open Inference Protocol. Errors have the code of the gRPC status. */
export class InferenceChannel {
  readonly endpoint: Endpoint;
  readonly #client: PinnedClient;
  readonly #clock: Clock;
  readonly #security: ConnectionSecurity;
  readonly #token: InferenceChannelOptions['token'];
  readonly #maxMessageBytes: number;
  #users = 0;
  /** Whether the channel closes with its last use. */
  #isClosing = false;

  /** Throws `usage` for an endpoint that isn't valid. */
  constructor(endpoint: string, { maxMessageBytes, clock, token, tls, checkAddress }: InferenceChannelOptions) {
    joinSmallFrames();
    this.endpoint = parseDialable(endpoint);
    this.#clock = clock;
    this.#token = token;
    this.#maxMessageBytes = maxMessageBytes;
    this.#security = { tls, checkAddress };
    this.#client = new PinnedClient(this.endpoint, tls, maxMessageBytes);
  }

  /**
   * Connects, and resolves when a call can be made. Returns undefined if the channel is connected already. Rejects with
   * `unavailable` after at most 3 s if the replica can't be reached.
   */
  connect({ deadlineEpochMs, cancellation }: CallOptions): Promise<void> | undefined {
    if (this.#client.isReady) return undefined;
    const { checkAddress } = this.#security;
    return connectChannel(this.#client, this.endpoint, {
      deadlineEpochMs,
      clock: this.#clock,
      signal: cancellation?.signal,
      checkAddress,
    });
  }

  /** Makes a unary call. */
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
    const { deadlineEpochMs, cancellation, headers, onLoad } = options;
    return new Promise((resolve, reject) => {
      cancellation?.throwIfCancelled();
      const bytes = this.#checkSize(method.requestSerialize(request));
      const call = new UnaryCall(this.#client.channel, method, deadlineEpochMs, (error, response, trailers) => {
        reportLoad(trailers, onLoad);
        if (error) this.#toCallError(error, options).then(reject, reject);
        else resolve(response as Response);
      });
      if (cancellation) cancellation.stop = () => call.cancel();
      call.start(this.#createMetadata(headers), bytes);
    });
  }

  /** Makes a streaming inference call. Leaving the loop cancels the call. */
  async *stream(request: RequestMessage, options: StreamOptions): AsyncGenerator<ResponseMessage> {
    const method = INFERENCE_SERVICE.modelStreamInfer;
    const { deadlineEpochMs, cancellation, timeouts, maxTotalBytes } = options;
    await this.connect(options);
    cancellation?.throwIfCancelled();
    const bytes = this.#checkSize(method.requestSerialize(request));
    const metadata = this.#createMetadata(options.headers).clone();
    metadata.set(STATUS_ON_STREAM_ERROR_KEY, 'true');
    const call = new StreamCall<StreamResponseMessage>(this.#client.channel, method, deadlineEpochMs, maxTotalBytes);
    if (cancellation) cancellation.stop = () => call.cancel();
    const watchdog = new StreamWatchdog(this.#clock, timeouts);
    try {
      call.start(metadata, bytes);
      for (;;) {
        const message = await watchdog.next(call);
        if (!message) return;
        const { errorMessage, inferResponse } = message;
        if (errorMessage) throw new AnyserveError('unknown', errorMessage.slice(0, MAX_ERROR_CHARACTERS));
        if (inferResponse) yield inferResponse;
      }
    } catch (error) {
      throw error instanceof AnyserveError
        ? new AnyserveError(error.code, `${this.endpoint}: ${error.message}`, { cause: error })
        : await this.#toCallError(error as ServiceError, options);
    } finally {
      if (call.trailers) reportLoad(call.trailers, options.onLoad);
      call.cancel();
    }
  }

  /** Returns whether the replica doesn't respond on a new connection either, within the timeout. */
  isUnresponsive(timeoutMs: number): Promise<boolean> {
    return isUnresponsive(this.endpoint, this.#security, timeoutMs);
  }

  /** Adds a use. {@link closeWhenUnused} keeps the channel open until each use is {@link release}d. */
  acquire(): void {
    this.#users++;
  }

  release(): void {
    if (--this.#users === 0 && this.#isClosing) this.close();
  }

  /** Closes the connection after its last use. */
  closeWhenUnused(): void {
    this.#isClosing = true;
    if (this.#users === 0) this.close();
  }

  /** Closes the channel. The connection ends with the last call in progress. */
  close(): void {
    this.#client.close();
  }

  /** Creates the metadata of a call. The library copies it for each call. */
  #createMetadata(headers?: Readonly<Record<string, string>>): Metadata {
    if (!this.#token && !headers) return NO_METADATA;
    const metadata = new Metadata();
    for (const [name, value] of Object.entries(headers ?? {})) metadata.set(name, value);
    if (this.#token) metadata.set('authorization', `Bearer ${this.#token()}`);
    return metadata;
  }

  /** Returns the bytes of a request. Throws `too_large` if they exceed the limit, which would fail at every replica. */
  #checkSize(bytes: Buffer): Buffer {
    if (bytes.length <= this.#maxMessageBytes) return bytes;
    const sizes = `the request has ${bytes.length} bytes, and the limit is ${this.#maxMessageBytes}`;
    throw new AnyserveError('too_large', `${sizes}; see --max-message-bytes`);
  }

  async #toCallError(error: ServiceError, { cancellation, ...call }: CallOptions): Promise<unknown> {
    if (cancellation?.isCancelled) return cancellation.reason;
    if (isNotHttp2Error(error) && (await isHttp1Server(this.endpoint, this.#security)))
      return createNotGrpcError(error, this.endpoint);
    return toCallError(error, this.endpoint, {
      isSecure: this.#security.tls !== undefined,
      maxMessageBytes: this.#maxMessageBytes,
      timeoutMs:
        this.#clock.epochMs() >= call.deadlineEpochMs - EARLY_DEADLINE_TOLERANCE_MS ? call.timeoutMs : undefined,
    });
  }
}

function reportLoad(trailers: Metadata, onLoad: CallOptions['onLoad']): void {
  const load = onLoad && readLoad(trailers);
  if (load) onLoad(load);
}
