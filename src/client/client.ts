import { createPairs } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import { checkCounts, checkTimes, MAX_TIMER_MS } from '../core/option-checks.js';
import type { Clock, Random } from '../core/ports.js';
import { toGetter } from '../core/value-or-getter.js';
import type { InferenceResponse, ModelMetadata, ServerMetadata } from '../inference/inference-data.js';
import { MAX_MESSAGE_BYTES } from '../inference/message-limits.js';
import type { RequestMessage } from '../inference/protocol-messages.js';
import { INFERENCE_SERVICE } from '../inference/service-definition.js';
import { isPlainValue, type TensorValue } from '../inference/tensor-value.js';
import { ActiveCalls } from './cancellation.js';
import { ChannelPool } from './channel-pool.js';
import type { ClientOptions, InferOptions, InferStreamOptions, RequestOptions } from './client-options.js';
import { createDiscovery, getCallTls } from './client-targets.js';
import { collectStream, isDecoupledModelError } from './collect-stream.js';
import { DeclaredInputs, type InputSpecs, NO_INPUT_SPECS } from './declared-inputs.js';
import type { Discovery } from './discovery.js';
import { createRequestMessage, getDefaultTimeoutMs, parseInferResponse } from './infer-messages.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { ListingWatch } from './listing-watch.js';
import { RetryingCaller } from './retrying-caller.js';
import { streamOrCallUnary } from './stream-or-unary.js';
import type { StreamTimeouts } from './stream-watchdog.js';
import { explainFailure, needsExplanation } from './unexplained-failure.js';

/** What the world gives a client. */
export interface ClientEnvironment {
  readonly clock: Clock;
  readonly random: Random;
}

/** Calls models by what they can do, straight at a replica that can. */
export class InferenceClient {
  readonly #discovery: Discovery;
  readonly #channels: ChannelPool;
  readonly #caller: RetryingCaller;
  readonly #declared: DeclaredInputs;
  readonly #underway = new ActiveCalls();
  readonly #closed = new AbortController();
  readonly #clock: Clock;
  /** Whether the client says how long any call may take, in place of what calls of a kind may. */
  readonly #isTimeGiven: boolean;
  readonly #limits: StreamTimeouts;
  readonly #maxMessageBytes: number;

  /** Throws `usage` unless given either an endpoint that can be dialled, or a server and a capability. */
  constructor(options: ClientOptions, world: ClientEnvironment) {
    const {
      maxMessageBytes = DEFAULTS.maxMessageBytes,
      timeoutMs,
      firstPartTimeoutMs = DEFAULTS.firstPartTimeoutMs,
      silenceTimeoutMs = DEFAULTS.silenceTimeoutMs,
      onRetry,
      onAttempt,
      waitWhileWarming = true,
    } = options;
    // A call's timer is cut to the longest time there is, so any time beyond it will do.
    checkTimes({ timeoutMs: timeoutMs !== undefined && timeoutMs > MAX_TIMER_MS ? MAX_TIMER_MS : timeoutMs });
    checkTimes({ firstPartTimeoutMs, silenceTimeoutMs });
    checkCounts({ maxMessageBytes }, 1, MAX_MESSAGE_BYTES);
    const query = createPairs(
      Object.entries(options.capability ?? {}).map(([key, value]) => [key, String(value)] as const),
    );
    this.#declared = new DeclaredInputs(world.clock, this.#underway);
    this.#discovery = createDiscovery(options, query, world.clock);
    this.#channels = new ChannelPool({
      maxMessageBytes,
      clock: world.clock,
      token: toGetter(options.callToken),
      tls: getCallTls(options),
    });
    this.#clock = world.clock;
    this.#isTimeGiven = timeoutMs !== undefined;
    this.#limits = { firstPartTimeoutMs, silenceTimeoutMs };
    this.#maxMessageBytes = maxMessageBytes;
    const discovery = this.#discovery;
    const { signal } = this.#closed;
    this.#caller = new RetryingCaller({
      discovery,
      listing: discovery.hasOthers
        ? new ListingWatch({ clock: world.clock, isListed: (target) => discovery.isListed(target, signal) })
        : undefined,
      channels: this.#channels,
      query,
      timeoutMs,
      waitWhileWarming,
      underway: this.#underway,
      onRetry,
      onAttempt,
      ...world,
    });
  }

  /** Where the last successful call went, else the endpoint given; undefined when there is neither. */
  get endpoint(): string | undefined {
    return this.#discovery.lastTarget?.endpoint;
  }

  /** The replica that the last successful call went to; undefined before it, and behind a given endpoint. */
  get replicaId(): ReplicaId | undefined {
    return this.#discovery.lastTarget?.replicaId;
  }

  /**
   * One inference. Plain values become exactly what the model declares, datatype and shape; where it declares nothing,
   * integers become INT32 and other numbers FP32, in the shape of their nesting. For plain values the model is asked
   * what it declares, once a connection: the first call takes one more round trip. Typed arrays and
   * `{ datatype, shape, data }` are sent as they are. Rejects with an `AnyserveError`, or with the signal's reason.
   */
  infer(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferOptions = {},
  ): Promise<InferenceResponse> {
    const defaultTimeoutMs = getDefaultTimeoutMs(inputs);
    return this.#caller.call({ defaultTimeoutMs, ...options }, async (channel, call) => {
      const connecting = channel.connect(call);
      if (connecting !== undefined) await connecting;
      const specs = this.#specs(channel, model, inputs, options, call);
      const message = createRequestMessage(model, inputs, options, specs instanceof Promise ? await specs : specs);
      try {
        return parseInferResponse(channel, await channel.call(INFERENCE_SERVICE.modelInfer, message, call));
      } catch (error) {
        if (!isDecoupledModelError(error)) throw await this.#explained(error, channel, message, call);
        const stream = { ...call, limits: this.#limits, maxAnswerBytes: this.#maxMessageBytes };
        return collectStream(channel, message, stream, (part) => parseInferResponse(channel, part));
      }
    });
  }

  /** One inference whose answer comes in parts, as they come. It is tried elsewhere only while no part has come. */
  inferStream(
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferStreamOptions = {},
  ): AsyncGenerator<InferenceResponse> {
    const timed = { defaultTimeoutMs: DEFAULTS.streamTimeoutMs, ...options };
    return this.#caller.stream(timed, (channel, call) => this.#parts(channel, call, model, inputs, options));
  }

  /** Whether the replica's server is up. */
  serverLive(options: RequestOptions = {}): Promise<boolean> {
    return this.#caller.call(withDefaultTimeout(options), async (channel, call) => {
      const { live } = await channel.call(INFERENCE_SERVICE.serverLive, {}, call);
      return live;
    });
  }

  /** Whether the replica's server takes calls. */
  serverReady(options: RequestOptions = {}): Promise<boolean> {
    return this.#caller.call(withDefaultTimeout(options), async (channel, call) => {
      const { ready } = await channel.call(INFERENCE_SERVICE.serverReady, {}, call);
      return ready;
    });
  }

  /** Whether a model takes calls at the replica. */
  modelReady(name: string, options: RequestOptions & { version?: string } = {}): Promise<boolean> {
    return this.#caller.call(withDefaultTimeout(options), async (channel, call) => {
      const { ready } = await channel.call(
        INFERENCE_SERVICE.modelReady,
        { name, version: options.version ?? '' },
        call,
      );
      return ready;
    });
  }

  /** Name, version and extensions of the replica's server. */
  serverMetadata(options: RequestOptions = {}): Promise<ServerMetadata> {
    return this.#caller.call(withDefaultTimeout(options), (channel, call) =>
      channel.call(INFERENCE_SERVICE.serverMetadata, {}, call),
    );
  }

  /** What a model declares of its inputs and outputs. */
  modelMetadata(name: string, options: RequestOptions & { version?: string } = {}): Promise<ModelMetadata> {
    const request = { name, version: options.version ?? '' };
    return this.#caller.call(withDefaultTimeout(options), (channel, call) =>
      channel.call(INFERENCE_SERVICE.modelMetadata, request, call),
    );
  }

  /** Ends every call, those under way with `cancelled`, and every connection. */
  async close(): Promise<void> {
    this.#underway.close(new AnyserveError('cancelled', 'the client is closed'));
    this.#closed.abort();
    this.#discovery.close();
    this.#channels.close();
  }

  async *#parts(
    channel: InferenceChannel,
    call: CallOptions,
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    options: InferStreamOptions,
  ): AsyncGenerator<InferenceResponse> {
    const { orWhole, maxAnswerBytes, timeoutMs } = options;
    await channel.connect(call);
    const message = createRequestMessage(
      model,
      inputs,
      options,
      await this.#specs(channel, model, inputs, options, call),
    );
    const stream = { ...call, limits: this.#limits, maxAnswerBytes };
    const isTimeGiven = this.#isTimeGiven || timeoutMs !== undefined;
    const wholeByEpochMs = isTimeGiven ? call.deadlineEpochMs : this.#clock.epochMs() + getDefaultTimeoutMs(inputs);
    try {
      const parts = orWhole
        ? streamOrCallUnary(channel, message, stream, wholeByEpochMs)
        : channel.stream(message, stream);
      for await (const part of parts) yield parseInferResponse(channel, part);
    } catch (error) {
      throw await this.#explained(error, channel, message, call);
    }
  }

  /** A failure that has no reason, with what may be the reason. */
  async #explained(
    error: unknown,
    channel: InferenceChannel,
    message: RequestMessage,
    call: CallOptions,
  ): Promise<unknown> {
    if (!needsExplanation(error)) return error;
    const declared = this.#declared.of(channel, message.modelName, message.modelVersion, call);
    return explainFailure(error, await Promise.resolve(declared).catch(() => NO_INPUT_SPECS), message);
  }

  /** What the model declares, if there is a value that needs it. */
  #specs(
    channel: InferenceChannel,
    model: string,
    inputs: Readonly<Record<string, TensorValue>>,
    { version = '' }: InferOptions,
    call: CallOptions,
  ): InputSpecs | Promise<InputSpecs> {
    if (!Object.values(inputs).some(isPlainValue)) return NO_INPUT_SPECS;
    return this.#declared.of(channel, model, version, call);
  }
}

function withDefaultTimeout(options: RequestOptions) {
  return { defaultTimeoutMs: DEFAULTS.callTimeoutMs, ...options };
}
