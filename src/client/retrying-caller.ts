import { AnyserveError } from '../core/errors.js';
import type { Attempt } from './attempt.js';
import { hedge, type RunningAttempt } from './balancing/hedging.js';
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
    const canRepeat = method === 'infer' && options.retryOnFailure !== false;
    const hedging = canRepeat ? this.#options.hedging : undefined;
    hedging?.budget.addCall();
    try {
      for (;;) {
        const next = attempts.next();
        const target = next instanceof Promise ? await next : next;
        let attempt: Attempt | undefined;
        let result: T;
        try {
          attempt = attempts.begin(target);
          result = await (hedging
            ? this.#makeHedged(attempts, attempt, make, hedging.afterMs, (last) => {
                attempt = last;
              })
            : make(attempt.channel, attempt.options));
        } catch (error) {
          attempt?.recordFailure(error);
          addCallerStack(error);
          attempts.continueAfter(attempt?.target ?? target, attempt, error);
          continue;
        }
        attempt.succeed();
        return result;
      }
    } finally {
      attempts.end();
    }
  }

  /**
   * Makes an attempt, and a second one at another replica if it takes long. Rejects with the error of the attempt that failed
   * last, after it was passed to `onLast`.
   */
  #makeHedged<T>(
    attempts: CallAttempts,
    first: Attempt,
    make: (channel: InferenceChannel, call: CallOptions) => Promise<T>,
    afterMs: number,
    onLast: (attempt: Attempt) => void,
  ): Promise<T> {
    let inProgress = 0;
    const run = (attempt: Attempt): RunningAttempt<T> => {
      inProgress++;
      const succeed = (value: T): T => {
        attempt.succeed();
        return value;
      };
      const fail = (error: unknown): never => {
        attempt.recordFailure(error);
        if (--inProgress === 0) onLast(attempt);
        else attempts.addFailure(attempt, error);
        throw error;
      };
      const result = make(attempt.channel, attempt.options).then(succeed, fail);
      return { result, abandon: () => attempt.cancel() };
    };
    const beginSecond = (): RunningAttempt<T> | undefined => {
      const second = attempts.beginHedge(first.target);
      return second && run(second);
    };
    return hedge(run(first), { clock: this.#options.clock, afterMs, beginSecond });
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
