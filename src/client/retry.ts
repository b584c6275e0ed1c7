import { AnyserveError } from '../core/errors.js';
import type { Attempt } from './attempt.js';
import { Attempts, type KeptTarget, type RetryingCallerOptions, type RetryOptions } from './attempts.js';
import type { Target } from './discovery.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/**
 * Makes a call at a discovered replica and, when that fails, at the next one, until it succeeds or cannot. Keeps to the
 * target of the last success until that fails, or was not heard of for some seconds: then another may be found.
 */
export class RetryingCaller {
  readonly #options: RetryingCallerOptions;
  #kept: KeptTarget | undefined;

  constructor(options: RetryingCallerOptions) {
    this.#options = options;
  }

  /** The target of the last success. */
  get kept(): Target | undefined {
    return this.#kept?.target;
  }

  /** A call with one result. */
  async call<T>(options: RetryOptions, make: (channel: InferenceChannel, call: CallOptions) => Promise<T>): Promise<T> {
    const attempts = new Attempts(this.#options, options);
    try {
      for (;;) {
        const first = attempts.first(this.#kept);
        const target = (first instanceof Promise ? await first : first) ?? (await attempts.next());
        let attempt: Attempt | undefined;
        try {
          attempt = attempts.begin(target);
          const result = await make(attempt.channel, attempt.options);
          attempt.end();
          this.#keep(target);
          return result;
        } catch (error) {
          attempt?.end(error);
          this.#failed(attempts, target, error);
        }
      }
    } finally {
      attempts.end();
    }
  }

  /** A call whose result comes in parts; once one has come, a failure is final. */
  async *stream<T>(
    options: RetryOptions,
    make: (channel: InferenceChannel, call: CallOptions) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    const attempts = new Attempts(this.#options, options);
    try {
      for (;;) {
        const first = attempts.first(this.#kept);
        const target = (first instanceof Promise ? await first : first) ?? (await attempts.next());
        let parts = 0;
        let attempt: Attempt | undefined;
        let failure: unknown;
        try {
          attempt = attempts.begin(target);
          for await (const part of make(attempt.channel, attempt.options)) {
            parts++;
            this.#keep(target);
            attempt.heardAtMs = this.#options.clock.nowMs();
            yield part;
          }
          return;
        } catch (error) {
          failure = error;
        } finally {
          attempt?.end(failure);
        }
        this.#failed(attempts, target, parts > 0 ? brokenOff(failure, parts) : failure, parts > 0);
      }
    } finally {
      attempts.end();
    }
  }

  /** Takes note of a success. */
  #keep(target: Target): void {
    const nowMs = this.#options.clock.nowMs();
    if (this.#kept?.target === target) this.#kept.heardAtMs = nowMs;
    else this.#kept = { target, heardAtMs: nowMs };
  }

  /** Takes note of a failed try; throws its error when no other may follow. */
  #failed(attempts: Attempts, target: Target, error: unknown, isLast = false): void {
    if (this.#kept?.target === target && attempts.isOfTheReplica(error)) this.#kept = undefined;
    // Made where the gRPC library reports it, which says nothing of who waits for the call.
    if (error instanceof AnyserveError) Error.captureStackTrace(error);
    if (isLast) throw error;
    attempts.failed(target, error);
  }
}

/** The failure of a stream that has begun: what came of it is with the caller, and is no whole answer. */
function brokenOff(error: unknown, parts: number): unknown {
  if (!(error instanceof AnyserveError)) return error;
  const came = parts === 1 ? 'after one part of the answer' : `after ${parts} parts of the answer`;
  return new AnyserveError(error.code, `${error.message} (${came})`, { cause: error });
}
