import { createPairs } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import { toGetter } from '../core/options.js';
import type { Clock } from '../core/ports.js';
import type { InferenceResponse, ModelMetadata, ServerMetadata, TensorValue } from '../inference/inference-data.js';
import type { RequestMessage } from '../inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { isPlainValue } from '../inference/tensor-value.js';
import { HedgeBudget } from './balancing/hedging.js';
import { RetryBudget } from './balancing/retry-budget.js';
import { explainFailure, needsExplanation } from './call-failure.js';
import { ActiveCalls } from './cancellation.js';
import { ChannelPool } from './channel-pool.js';
import {
  type CallMethod,
  type ClientEnvironment,
  type ClientOptions,
  type ClientReplica,
  checkCallOptions,
  checkClientOptions,
  type DiscoveryKind,
  type InferOptions,
  type InferStreamOptions,
  type ModelRequestOptions,
  type RequestOptions,
} from './client-options.js';
import { createDiscovery, getCallTls } from './client-targets.js';
import { collectStream, isDecoupledModelError } from './collect-stream.js';
import type { Discovery } from './discovery.js';
import {
  checkInferArguments,
  createRequestMessage,
  getDefaultTimeoutMs,
  parseInferResponse,
} from './infer-messages.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { InputSpecCache, type InputSpecs, NO_INPUT_SPECS } from './input-spec-cache.js';
import { watchQuietCalls } from './quiet-calls.js';
import { RetryingCaller } from './retrying-caller.js';
import { streamOrCallUnary } from './stream-or-unary.js';
import type { StreamTimeouts } from './stream-watchdog.js';

/** Client of the Open Inference Protocol. Finds a replica by capability and calls it directly. */
export class InferenceClient {
  readonly #discovery: Discovery;
  readonly #channels: ChannelPool;
  readonly #caller: RetryingCaller<InferenceChannel>;
  readonly #declaredInputs: InputSpecCache;
  readonly #activeCalls = new ActiveCalls();
  readonly #closed = new AbortController();
  readonly #clock: Clock;
  /** Whether the options set a timeout, in place of the default of each kind of call. */
  readonly #hasTimeout: boolean;
  readonly #streamTimeouts: StreamTimeouts;
  readonly #maxMessageBytes: number;

  /** Throws `usage` unless the options have either a valid endpoint, or a server and a capability. */
  constructor(options: ClientOptions, world: ClientEnvironment, discoveryKind: DiscoveryKind = 'table') {
    checkClientOptions(options);
    const {
      maxMessageBytes = DEFAULTS.maxMessageBytes,
      timeoutMs,
      firstMessageTimeoutMs = DEFAULTS.firstMessageTimeoutMs,
      streamIdleTimeoutMs = DEFAULTS.streamIdleTimeoutMs,
      onRetry,
      onAttempt,
      tracer,
      waitWhileWarming = true,
      hedgeAfterMs,
    } = options;
    const query = createPairs(
      Object.entries(options.capability ?? {}).map(([key, value]) => [key, String(value)] as const),
    );
    this.#declaredInputs = new InputSpecCache(world.clock, this.#activeCalls);
    const onRemoved = (endpoint: string): void => this.#channels.dropEndpoint(endpoint);
    this.#discovery = createDiscovery(options, query, world, discoveryKind, onRemoved);
    this.#channels = new ChannelPool({
      maxMessageBytes,
      clock: world.clock,
      token: toGetter(options.callToken),
      tls: getCallTls(options),
    });
    this.#clock = world.clock;
    this.#hasTimeout = timeoutMs !== undefined;
    this.#streamTimeouts = { firstMessageTimeoutMs, streamIdleTimeoutMs };
    this.#maxMessageBytes = maxMessageBytes;
    this.#caller = new RetryingCaller({
      discovery: this.#discovery,
      quietCalls: watchQuietCalls(this.#discovery, world.clock, this.#closed.signal),
      channels: this.#channels,
      query,
      where: options.where,
      timeoutMs,
      waitWhileWarming,
      activeCalls: this.#activeCalls,
      budget: new RetryBudget(),
      hedging: hedgeAfterMs === undefined ? undefined : { afterMs: hedgeAfterMs, budget: new HedgeBudget() },
      onRetry,
      onAttempt,
      tracer,
      ...world,
    });
  }

  /** Endpoint of the last successful call, or the endpoint of the options; undefined if there is neither. */
  get endpoint(): string | undefined {
    return this.#discovery.lastTarget?.endpoint;
  }

  /** Id of the replica of the last successful call; undefined before it, and always for an endpoint of the options. */
  get replicaId(): ReplicaId | undefined {
    return this.#discovery.lastTarget?.replicaId;
  }

  /**
   * Makes a unary inference call. Plain values are converted to the datatype and shape that the model declares. For an
   * input without a declaration, integers become INT32 and other numbers FP32, in the shape of their nesting. With plain
   * values, the first call on a connection takes one more round trip, to get the model's metadata. Typed arrays and
   * `{ datatype, shape, data }` are sent as they are. Rejects with an `AnyserveError`, or with the signal's reason.
   */
  infer(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferOptions = {},
  ): Promise<InferenceResponse> {
    try {
      checkInferArguments(model, inputs);
      checkCallOptions('infer', options);
    } catch (error) {
      return Promise.reject(error);
    }
    return this.#caller.call(options, getDefaultTimeoutMs(inputs), async (channel, call) => {
      const connecting = channel.connect(call);
      if (connecting !== undefined) await connecting;
      const specs = this.#getSpecs(channel, model, inputs, options, call);
      const message = createRequestMessage(model, inputs, options, specs instanceof Promise ? await specs : specs);
      try {
        return parseInferResponse(channel, await channel.call(INFERENCE_SERVICE.modelInfer, message, call));
      } catch (error) {
        if (!isDecoupledModelError(error)) throw await this.#explain(error, channel, message, call);
        const stream = { ...call, timeouts: this.#streamTimeouts, maxTotalBytes: this.#maxMessageBytes };
        return collectStream(channel, message, stream, (response) => parseInferResponse(channel, response));
      }
    });
  }

  /** Makes a streaming inference call, and yields each message as it arrives. Retries only before the first message. */
  inferStream(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferStreamOptions = {},
  ): AsyncGenerator<InferenceResponse> {
    checkInferArguments(model, inputs);
    checkCallOptions('inferStream', options);
    return this.#caller.stream(options, DEFAULTS.streamTimeoutMs, (channel, call) =>
      this.#streamOnce(channel, call, model, inputs, options),
    );
  }

  /** Returns whether the replica's server is live. */
  serverLive(options: RequestOptions = {}): Promise<boolean> {
    return this.#request('serverLive', options, async (channel, call) => {
      const { live } = await channel.call(INFERENCE_SERVICE.serverLive, {}, call);
      return live;
    });
  }

  /** Returns whether the replica's server is ready for calls. */
  serverReady(options: RequestOptions = {}): Promise<boolean> {
    return this.#request('serverReady', options, async (channel, call) => {
      const { ready } = await channel.call(INFERENCE_SERVICE.serverReady, {}, call);
      return ready;
    });
  }

  /** Returns whether a model of the replica is ready for calls. */
  modelReady(name: string, options: ModelRequestOptions = {}): Promise<boolean> {
    return this.#request('modelReady', options, async (channel, call) => {
      const { ready } = await channel.call(
        INFERENCE_SERVICE.modelReady,
        { name, version: options.version ?? '' },
        call,
      );
      return ready;
    });
  }

  /** Returns the name, version and extensions of the replica's server. */
  serverMetadata(options: RequestOptions = {}): Promise<ServerMetadata> {
    return this.#request('serverMetadata', options, (channel, call) =>
      channel.call(INFERENCE_SERVICE.serverMetadata, {}, call),
    );
  }

  /** Returns the inputs and outputs that a model declares. */
  modelMetadata(name: string, options: ModelRequestOptions = {}): Promise<ModelMetadata> {
    return this.#request('modelMetadata', options, (channel, call) =>
      channel.call(INFERENCE_SERVICE.modelMetadata, { name, version: options.version ?? '' }, call),
    );
  }

  /**
   * Lists the replicas that match the client's capability, in any state, with what this client has observed of them. Rejects
   * with `server_unreachable` if no API server responds within 3 s, and with `usage` for a client of an endpoint.
   */
  replicas(): Promise<readonly ClientReplica[]> {
    return this.#discovery.listReplicas();
  }

  /** Closes all connections. Calls in progress reject with `cancelled`. */
  async close(): Promise<void> {
    this.#activeCalls.close(new AnyserveError('cancelled', 'the client is closed'));
    this.#closed.abort();
    this.#discovery.close();
    this.#channels.close();
  }

  /** Makes a call that asks a replica about itself. */
  async #request<T>(
    method: CallMethod,
    options: RequestOptions,
    make: (channel: InferenceChannel, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    checkCallOptions(method, options);
    return this.#caller.call(options, DEFAULTS.callTimeoutMs, make, { canHedge: false });
  }

  /** Makes one attempt of a streaming inference. */
  async *#streamOnce(
    channel: InferenceChannel,
    call: CallOptions,
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferStreamOptions,
  ): AsyncGenerator<InferenceResponse> {
    const { fallBackToUnary, maxResponseBytes, timeoutMs } = options;
    await channel.connect(call);
    const message = createRequestMessage(
      model,
      inputs,
      options,
      await this.#getSpecs(channel, model, inputs, options, call),
    );
    const stream = { ...call, timeouts: this.#streamTimeouts, maxTotalBytes: maxResponseBytes };
    const hasTimeout = this.#hasTimeout || timeoutMs !== undefined;
    const unaryDeadlineEpochMs = hasTimeout
      ? call.deadlineEpochMs
      : this.#clock.epochMs() + getDefaultTimeoutMs(inputs);
    try {
      const messages = fallBackToUnary
        ? streamOrCallUnary(channel, message, stream, unaryDeadlineEpochMs)
        : channel.stream(message, stream);
      for await (const response of messages) yield parseInferResponse(channel, response);
    } catch (error) {
      throw await this.#explain(error, channel, message, call);
    }
  }

  /**
   * Adds the declared and the sent inputs to the message of an error for which the replica gave no reason. Returns other
   * errors unchanged.
   */
  async #explain(
    error: unknown,
    channel: InferenceChannel,
    message: RequestMessage,
    call: CallOptions,
  ): Promise<unknown> {
    if (!needsExplanation(error)) return error;
    const specs = this.#declaredInputs.get(channel, message.modelName, message.modelVersion, call);
    return explainFailure(error, await Promise.resolve(specs).catch(() => NO_INPUT_SPECS), message);
  }

  /** Returns the inputs that the model declares, if there is a plain value to convert. */
  #getSpecs(
    channel: InferenceChannel,
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    { version = '' }: InferOptions,
    call: CallOptions,
  ): InputSpecs | Promise<InputSpecs> {
    if (!Object.values(inputs).some(isPlainValue)) return NO_INPUT_SPECS;
    return this.#declaredInputs.get(channel, model, version, call);
  }
}
