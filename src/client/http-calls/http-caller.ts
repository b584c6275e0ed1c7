import { AnyserveError } from '../../core/errors.js';
import type { CallEvent, Clock, Random, Tracer } from '../../core/ports.js';
import { HedgeBudget } from '../balancing/hedging.js';
import { RetryBudgets } from '../balancing/retry-budget.js';
import { ActiveCalls } from '../cancellation.js';
import type { CallSettings, FailedAttempt } from '../client-options.js';
import type { Discovery } from '../discovery.js';
import { watchQuietCalls } from '../quiet-calls.js';
import { type OpenCall, RetryingCaller } from '../retrying-caller.js';
import type { HttpCall, HttpChannel, HttpChannels } from './http-channel.js';
import type { IncomingResponse } from './incoming-response.js';

/** Options of an {@link HttpCaller}. */
export interface HttpCallerOptions {
  readonly channels: HttpChannels;
  /** Time without a response after which a call is also sent to a second replica, in ms. Default: never. */
  readonly hedgeAfterMs?: number | undefined;
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  readonly onAttempt?: ((event: CallEvent) => void) | undefined;
  readonly tracer?: Tracer | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** An HTTP call whose response has begun. */
export type OpenHttpCall = OpenCall<HttpChannel, IncomingResponse>;

/** Makes HTTP calls with retries, at replicas that the discovery of each call finds. */
export class HttpCaller {
  readonly #options: HttpCallerOptions;
  readonly #hedging: { readonly afterMs: number; readonly budget: HedgeBudget } | undefined;
  readonly #activeCalls = new ActiveCalls();
  readonly #closed = new AbortController();
  readonly #callers = new WeakMap<Discovery, RetryingCaller<HttpChannel>>();

  constructor(options: HttpCallerOptions) {
    this.#options = options;
    const { hedgeAfterMs } = options;
    this.#hedging = hedgeAfterMs === undefined ? undefined : { afterMs: hedgeAfterMs, budget: new HedgeBudget() };
  }

  /**
   * Makes a call. Resolves when a replica's response has begun. Rejects with the last replica's `HttpStatusError`, or another
   * `AnyserveError`.
   */
  open(discovery: Discovery, call: HttpCall, settings: CallSettings, defaultTimeoutMs: number): Promise<OpenHttpCall> {
    let caller = this.#callers.get(discovery);
    if (!caller) {
      caller = this.#createCaller(discovery, call.model);
      this.#callers.set(discovery, caller);
    }
    return caller.open(settings, defaultTimeoutMs, (attempt) => {
      call.onAttempt?.();
      return attempt.channel.request(call, attempt);
    });
  }

  close(): void {
    this.#activeCalls.close(new AnyserveError('cancelled', 'the client is closed'));
    this.#closed.abort();
    this.#options.channels.close();
  }

  #createCaller(discovery: Discovery, model: string): RetryingCaller<HttpChannel> {
    const { clock } = this.#options;
    return new RetryingCaller({
      ...this.#options,
      discovery,
      quietCalls: watchQuietCalls(discovery, clock, this.#closed.signal),
      query: ['model', model],
      timeoutMs: undefined,
      waitWhileWarming: true,
      activeCalls: this.#activeCalls,
      budgets: new RetryBudgets(),
      hedging: this.#hedging,
    });
  }
}
