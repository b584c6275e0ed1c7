import { createPairs } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import { toGetter } from '../core/options.js';
import type { Clock } from '../core/ports.js';
import type { InferenceResponse, ModelMetadata, ServerMetadata, TensorValue } from '../inference/inference-data.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { isPlainValue } from '../inference/tensor-value.js';
import { HedgeBudget } from './balancing/hedging.js';
import { RetryBudgets } from './balancing/retry-budget.js';
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
import { DeclaredModelCache } from './declared-model-cache.js';
import type { Discovery } from './discovery.js';
import { checkInferArguments, createRequestMessage, getDefaultTimeoutMs } from './infer-messages.js';
import { InferenceAttempts, type ModelRequest } from './inference-attempts.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { watchQuietCalls } from './quiet-calls.js';
import { RetryingCaller } from './retrying-caller.js';

/** Client of the Open Inference Protocol. Finds a replica by capability and calls it directly. */
export class InferenceClient {
  readonly #discovery: Discovery;
  readonly #channels: ChannelPool;
  readonly #caller: RetryingCaller<InferenceChannel>;
  readonly #attempts: InferenceAttempts;
  readonly #activeCalls = new ActiveCalls();
  readonly #closed = new AbortController();
  readonly #clock: Clock;
  /** Whether the options set a timeout, in place of the default of each kind of call. */
  readonly #hasTimeout: boolean;

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
    this.#attempts = new InferenceAttempts(
      new DeclaredModelCache(world.clock, this.#activeCalls),
      { firstMessageTimeoutMs, streamIdleTimeoutMs },
      maxMessageBytes,
    );
    this.#caller = new RetryingCaller({
      discovery: this.#discovery,
      quietCalls: watchQuietCalls(this.#discovery, world.clock, this.#closed.signal),
      channels: this.#channels,
      query,
      where: options.where,
      timeoutMs,
      waitWhileWarming,
      activeCalls: this.#activeCalls,
      budgets: new RetryBudgets(),
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
    const request = createRequest(model, inputs, options);
    return this.#caller.call(options, getDefaultTimeoutMs(inputs), (channel, call) =>
      this.#attempts.infer(channel, call, request),
    );
  }

  /** Makes a streaming inference call, and yields each message as it arrives. Retries only before the first message. */
  inferStream(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferStreamOptions = {},
  ): AsyncGenerator<InferenceResponse> {
    checkInferArguments(model, inputs);
    checkCallOptions('inferStream', options);
    const { fallBackToUnary, maxResponseBytes, timeoutMs } = options;
    const request = createRequest(model, inputs, options);
    const hasTimeout = this.#hasTimeout || timeoutMs !== undefined;
    return this.#caller.stream(options, DEFAULTS.streamTimeoutMs, (channel, call) => {
      const unaryDeadlineEpochMs = hasTimeout
        ? call.deadlineEpochMs
        : this.#clock.epochMs() + getDefaultTimeoutMs(inputs);
      return this.#attempts.stream(channel, call, request, {
        maxTotalBytes: maxResponseBytes,
        unaryDeadlineEpochMs: fallBackToUnary ? unaryDeadlineEpochMs : undefined,
      });
    });
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
}

/** Creates the request of a call. The declared inputs matter if there is a plain value to convert. */
function createRequest(
  model: string,
  inputs: Readonly<Record<string, TensorValue>>,
  options: InferOptions,
): ModelRequest {
  return {
    model,
    version: options.version ?? '',
    needsDeclaration: Object.values(inputs).some(isPlainValue),
    create: (declared) => createRequestMessage(model, inputs, options, declared.inputs),
  };
}
