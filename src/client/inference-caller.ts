import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { CallEvent, Clock, Random, Tracer } from '../core/ports.js';
import type { InferenceResponse } from '../inference/inference-data.js';
import type { Attempt, AttemptOptions } from './attempt.js';
import { HedgeBudget } from './balancing/hedging.js';
import { RetryBudgets } from './balancing/retry-budget.js';
import { ActiveCalls } from './cancellation.js';
import type { ChannelPool } from './channel-pool.js';
import type { CallSettings } from './client-options.js';
import { DeclaredModelCache } from './declared-model-cache.js';
import type { Discovery } from './discovery.js';
import { InferenceAttempts, type ModelRequest } from './inference-attempts.js';
import type { InferenceChannel } from './inference-channel.js';
import { watchQuietCalls } from './quiet-calls.js';
import { RetryingCaller } from './retrying-caller.js';
import type { StreamTimeouts } from './stream-watchdog.js';

/** Options of an {@link InferenceCaller}. */
export interface InferenceCallerOptions {
  readonly channels: ChannelPool;
  readonly maxMessageBytes: number;
  readonly streamTimeouts: StreamTimeouts;
  /** Time without a response after which a call is also sent to a second replica, in ms. Default: never. */
  readonly hedgeAfterMs?: number | undefined;
  readonly onAttempt?: ((event: CallEvent) => void) | undefined;
  readonly tracer?: Tracer | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** A call of a model, at replicas that a discovery finds. */
export interface InferenceCall {
  readonly discovery: Discovery;
  readonly request: ModelRequest;
  readonly settings: CallSettings;
  /** Timeout of a unary response, in ms. */
  readonly timeoutMs: number;
  /** Metadata to send with the request, of the caller's trace. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Called when an attempt begins. */
  readonly onAttempt?: (() => void) | undefined;
}

/** A response, and the replica that it is from. */
export interface InferenceResult {
  readonly response: InferenceResponse;
  readonly replicaId: ReplicaId | undefined;
}

/** A response that arrives in messages. The first one has arrived. */
export interface InferenceStream {
  readonly messages: AsyncGenerator<InferenceResponse>;
  readonly first: IteratorResult<InferenceResponse>;
  readonly replicaId: ReplicaId | undefined;
}

/** Makes inference calls with retries, at replicas that the discovery of each call finds. */
export class InferenceCaller {
  readonly #options: InferenceCallerOptions;
  readonly #attempts: InferenceAttempts;
  readonly #hedging: { readonly afterMs: number; readonly budget: HedgeBudget } | undefined;
  readonly #activeCalls = new ActiveCalls();
  readonly #closed = new AbortController();
  readonly #callers = new WeakMap<Discovery, RetryingCaller<InferenceChannel>>();

  constructor(options: InferenceCallerOptions) {
    this.#options = options;
    const { clock, streamTimeouts, maxMessageBytes, hedgeAfterMs } = options;
    this.#hedging = hedgeAfterMs === undefined ? undefined : { afterMs: hedgeAfterMs, budget: new HedgeBudget() };
    const declaredModels = new DeclaredModelCache(clock, this.#activeCalls);
    this.#attempts = new InferenceAttempts(declaredModels, streamTimeouts, maxMessageBytes);
  }

  /** Makes a unary call. */
  async infer(call: InferenceCall): Promise<InferenceResult> {
    const { discovery, request, settings, timeoutMs } = call;
    const make = ({ channel, options }: Attempt<InferenceChannel>): Promise<InferenceResponse> => {
      call.onAttempt?.();
      return this.#attempts.infer(channel, addHeaders(options, call), request);
    };
    const { response, attempt, end } = await this.#getCaller(discovery, request).open(settings, timeoutMs, make);
    attempt.succeed();
    end();
    return { response, replicaId: attempt.target.replicaId };
  }

  /**
   * Makes a streaming call. Resolves with the first message. A server without streams responds with one message, for which
   * `timeoutMs` is the timeout; `streamTimeoutMs` is that of a stream.
   */
  async stream(call: InferenceCall, streamTimeoutMs: number): Promise<InferenceStream> {
    const { discovery, request, settings } = call;
    let replicaId: ReplicaId | undefined;
    const messages = this.#getCaller(discovery, request).stream(
      settings,
      streamTimeoutMs,
      (channel, options) => this.#stream(call, channel, options),
      (target) => {
        replicaId = target.replicaId;
      },
    );
    const first = await messages.next();
    return { messages, first, replicaId };
  }

  close(): void {
    this.#activeCalls.close(new AnyserveError('cancelled', 'the client is closed'));
    this.#closed.abort();
    this.#options.channels.close();
  }

  async *#stream(
    call: InferenceCall,
    channel: InferenceChannel,
    options: AttemptOptions,
  ): AsyncGenerator<InferenceResponse> {
    call.onAttempt?.();
    const unaryDeadlineEpochMs = this.#options.clock.epochMs() + call.timeoutMs;
    yield* this.#attempts.stream(channel, addHeaders(options, call), call.request, { unaryDeadlineEpochMs });
  }

  #getCaller(discovery: Discovery, { model }: ModelRequest): RetryingCaller<InferenceChannel> {
    let caller = this.#callers.get(discovery);
    if (!caller) {
      caller = new RetryingCaller({
        ...this.#options,
        discovery,
        quietCalls: watchQuietCalls(discovery, this.#options.clock, this.#closed.signal),
        query: ['model', model],
        timeoutMs: undefined,
        waitWhileWarming: true,
        activeCalls: this.#activeCalls,
        budgets: new RetryBudgets(),
        hedging: this.#hedging,
      });
      this.#callers.set(discovery, caller);
    }
    return caller;
  }
}

/** Adds the headers of the call to those of a tracer. */
function addHeaders(options: AttemptOptions, { headers }: InferenceCall): AttemptOptions {
  return headers ? { ...options, headers: { ...headers, ...options.headers } } : options;
}
