import { AnyserveError } from '../core/errors.js';
import type { Attempt } from './attempt.js';
import { CallAttempts, type RetryingCallerOptions, type RetryOptions } from './call-attempts.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/** Makes a call at a discovered replica and, when that fails, at the next one, until it succeeds or cannot. */
export class RetryingCaller {
  readonly #options: RetryingCallerOptions;

  constructor(options: RetryingCallerOptions) {
    this.#options = options;
  }

  /** Makes a call with one result. */
  async call<T>(options: RetryOptions, make: (channel: InferenceChannel, call: CallOptions) => Promise<T>): Promise<T> {
    const attempts = new CallAttempts(this.#options, options);
    try {
      for (;;) {
        const next = attempts.next();
        const target = next instanceof Promise ? await next : next;
        let attempt: Attempt | undefined;
        let result: T;
        try {
          attempt = attempts.begin(target);
          result = await make(attempt.channel, attempt.options);
        } catch (error) {
          attempt?.recordFailure(error);
          addCallerStack(error);
          attempts.recordFailure(target, error);
          continue;
        }
        attempt.succeed();
        return result;
      }
    } finally {
      attempts.end();
    }
  }

  /** Makes a call whose result comes in parts. After the first part, a failure is final. */
  async *stream<T>(
    options: RetryOptions,
    make: (channel: InferenceChannel, call: CallOptions) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    const attempts = new CallAttempts(this.#options, options);
    try {
      for (;;) {
        const target = await attempts.next();
        let parts = 0;
        let failure: unknown;
        let attempt: Attempt | undefined;
        try {
          attempt = attempts.begin(target);
          for await (const part of make(attempt.channel, attempt.options)) {
            parts++;
            attempt.recordPart();
            yield part;
          }
          attempt.succeed();
          return;
        } catch (error) {
          failure = parts > 0 ? createBrokenStreamError(error, parts) : error;
          attempt?.recordFailure(failure);
        } finally {
          attempt?.abandon();
        }
        addCallerStack(failure);
        if (parts > 0) throw failure;
        attempts.recordFailure(target, failure);
      }
    } finally {
      attempts.end();
    }
  }
}

/** Replaces the stack of an error, which was created where the gRPC library reports it, by one that names the caller. */
function addCallerStack(error: unknown): void {
  if (error instanceof AnyserveError) Error.captureStackTrace(error);
}

/** Creates the error of a stream that broke after some parts, which the caller has and must not take for all. */
function createBrokenStreamError(error: unknown, parts: number): unknown {
  if (!(error instanceof AnyserveError)) return error;
  const came = parts === 1 ? 'after one part of the answer' : `after ${parts} parts of the answer`;
  return new AnyserveError(error.code, `${error.message} (${came})`, { cause: error });
}
