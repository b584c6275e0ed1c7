import { AnyserveError } from '../core/errors.js';
import type { Attempt } from './attempt.js';
import { CallAttempts, type RetryingCallerOptions } from './call-attempts.js';
import { type CallMethod, checkCallOptions, type InferOptions, type InferStreamOptions } from './client-options.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';

/** Makes calls with retries: discovers a replica, calls it and, if that fails, tries the next one. */
export class RetryingCaller {
  readonly #options: RetryingCallerOptions;

  constructor(options: RetryingCallerOptions) {
    this.#options = options;
  }

  /** Makes a unary call. Rejects with `usage` for invalid options. */
  async call<T>(
    method: CallMethod,
    options: InferOptions,
    defaultTimeoutMs: number,
    make: (channel: InferenceChannel, call: CallOptions) => Promise<T>,
  ): Promise<T> {
    checkCallOptions(method, options);
    const attempts = new CallAttempts(this.#options, options, defaultTimeoutMs);
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
          attempts.continueAfter(target, attempt, error);
          continue;
        }
        attempt.succeed();
        return result;
      }
    } finally {
      attempts.end();
    }
  }

  /** Makes a streaming call. A failure after the first message is final. Throws `usage` for invalid options. */
  async *stream<T>(
    options: InferStreamOptions,
    defaultTimeoutMs: number,
    make: (channel: InferenceChannel, call: CallOptions) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    checkCallOptions('inferStream', options);
    const attempts = new CallAttempts(this.#options, options, defaultTimeoutMs);
    try {
      for (;;) {
        const target = await attempts.next();
        let messages = 0;
        let failure: unknown;
        let attempt: Attempt | undefined;
        try {
          attempt = attempts.begin(target);
          for await (const message of make(attempt.channel, attempt.options)) {
            messages++;
            attempt.recordMessage();
            yield message;
          }
          attempt.succeed();
          return;
        } catch (error) {
          failure = messages > 0 ? createBrokenStreamError(error, messages) : error;
          attempt?.recordFailure(failure);
        } finally {
          attempt?.abandon();
        }
        addCallerStack(failure);
        if (messages > 0) throw failure;
        attempts.continueAfter(target, attempt, failure);
      }
    } finally {
      attempts.end();
    }
  }
}

/** Replaces the error's stack, which is that of the gRPC library's callback, by the stack of the caller. */
function addCallerStack(error: unknown): void {
  if (error instanceof AnyserveError) Error.captureStackTrace(error);
}

/** Adds to the error of a broken stream how many messages had arrived, so that the response isn't taken for complete. */
function createBrokenStreamError(error: unknown, messages: number): unknown {
  if (!(error instanceof AnyserveError)) return error;
  const progress = messages === 1 ? 'after one message of the stream' : `after ${messages} messages of the stream`;
  return new AnyserveError(error.code, `${error.message} (${progress})`, { cause: error });
}
