import { AnyserveError } from '../core/errors.js';
import { Attempts, type RetryingCallerOptions, type RetryOptions } from './attempts.js';
import type { Target } from './discovery.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/**
 * Makes a call at a discovered replica and, when that fails, at the next one, until it succeeds or cannot. Keeps to the
 * target of the last success until that fails.
 */
export class RetryingCaller {
  readonly #options: RetryingCallerOptions;
  #kept: Target | undefined;

  constructor(options: RetryingCallerOptions) {
    this.#options = options;
  }

  /** The target of the last success. */
  get kept(): Target | undefined {
    return this.#kept;
  }

  /** A call with one result. */
  async call<T>(options: RetryOptions, make: (channel: InferenceChannel, call: CallOptions) => Promise<T>): Promise<T> {
    const attempts = new Attempts(this.#options, options);
    try {
      for (;;) {
        const target = attempts.first(this.#kept) ?? (await attempts.next());
        try {
          const result = await make(attempts.open(target), attempts.callOptions());
          this.#kept = target;
          return result;
        } catch (error) {
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
        const target = attempts.first(this.#kept) ?? (await attempts.next());
        let hasBegun = false;
        try {
          for await (const part of make(attempts.open(target), attempts.callOptions())) {
            hasBegun = true;
            this.#kept = target;
            yield part;
          }
          return;
        } catch (error) {
          this.#failed(attempts, target, error, hasBegun);
        }
      }
    } finally {
      attempts.end();
    }
  }

  /** Takes note of a failed try; throws its error when no other may follow. */
  #failed(attempts: Attempts, target: Target, error: unknown, isLast = false): void {
    if (this.#kept === target && attempts.isOfTheReplica(error)) this.#kept = undefined;
    // Made where the gRPC library reports it, which says nothing of who waits for the call.
    if (error instanceof AnyserveError) Error.captureStackTrace(error);
    if (isLast) throw error;
    attempts.failed(target, error);
  }
}
