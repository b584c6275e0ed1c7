import { AnyserveError } from '../core/errors.js';
import type { Attempt, AttemptOptions, CallChannel } from './attempt.js';
import { hedge, type RunningAttempt } from './balancing/hedging.js';
import { CallAttempts, type RetryingCallerOptions } from './call-attempts.js';
import type { CallSettings } from './client-options.js';
import type { Target } from './discovery.js';

/** A call at a replica that has begun to respond. */
export interface OpenCall<Channel extends CallChannel, T> {
  readonly response: T;
  /** The attempt, which is still in progress: record its success or failure, then {@link end} the call. */
  readonly attempt: Attempt<Channel>;
  end(): void;
}

/** Makes the request of an attempt. Resolves when the replica has responded. */
type MakeRequest<Channel extends CallChannel, T> = (attempt: Attempt<Channel>) => Promise<T>;

/** Makes calls with retries: discovers a replica, calls it and, if that fails, tries the next one. */
export class RetryingCaller<Channel extends CallChannel> {
  readonly #options: RetryingCallerOptions<Channel>;

  constructor(options: RetryingCallerOptions<Channel>) {
    this.#options = options;
  }

  /** Makes a unary call. With `canHedge`, a call that takes long can be sent to a second replica. */
  async call<T>(
    settings: CallSettings,
    defaultTimeoutMs: number,
    make: (channel: Channel, options: AttemptOptions) => Promise<T>,
    { canHedge = true } = {},
  ): Promise<T> {
    const makeRequest: MakeRequest<Channel, T> = ({ channel, options }) => make(channel, options);
    const { response, attempt, end } = await this.open(settings, defaultTimeoutMs, makeRequest, { canHedge });
    attempt.succeed();
    end();
    return response;
  }

  /** Makes a streaming call. A failure after the first message is final. `onOpen` receives the target that has responded. */
  async *stream<T>(
    settings: CallSettings,
    defaultTimeoutMs: number,
    make: (channel: Channel, options: AttemptOptions) => AsyncGenerator<T>,
    onOpen?: (target: Target) => void,
  ): AsyncGenerator<T> {
    const { response, attempt, end } = await this.open(settings, defaultTimeoutMs, async (made) => {
      const messages = make(made.channel, made.options);
      const first = await messages.next();
      if (!first.done) made.recordMessage();
      return { messages, first };
    });
    onOpen?.(attempt.target);
    const { messages, first } = response;
    let count = 0;
    try {
      for (let next = first; !next.done; next = await messages.next()) {
        if (count++ > 0) attempt.recordMessage();
        yield next.value;
      }
      attempt.succeed();
    } catch (error) {
      const failure = createBrokenStreamError(error, count);
      attempt.recordFailure(failure);
      addCallerStack(failure);
      throw failure;
    } finally {
      await messages.return(undefined);
      attempt.abandon();
      end();
    }
  }

  /**
   * Makes attempts until a replica has responded. The attempt that did stays in progress: its caller reads the rest of the
   * response, and no other attempt follows.
   */
  async open<T>(
    settings: CallSettings,
    defaultTimeoutMs: number,
    make: MakeRequest<Channel, T>,
    { canHedge = true } = {},
  ): Promise<OpenCall<Channel, T>> {
    const attempts = new CallAttempts(this.#options, settings, defaultTimeoutMs);
    const end = (): void => attempts.end();
    const hedging = canHedge && settings.retryOnFailure !== false ? this.#options.hedging : undefined;
    hedging?.budget.addCall();
    let hasResponse = false;
    try {
      for (;;) {
        const next = attempts.next();
        const target = next instanceof Promise ? await next : next;
        let attempt: Attempt<Channel> | undefined;
        try {
          attempt = attempts.begin(target);
          const response = await (hedging
            ? this.#makeHedged(attempts, attempt, make, hedging.afterMs, (last) => {
                attempt = last;
              })
            : make(attempt));
          hasResponse = true;
          return { response, attempt, end };
        } catch (error) {
          attempt?.recordFailure(error);
          addCallerStack(error);
          attempts.continueAfter(attempt?.target ?? target, attempt, error);
        }
      }
    } finally {
      if (!hasResponse) end();
    }
  }

  /**
   * Makes an attempt, and a second one at another replica if it takes long. `onLast` receives the attempt that responded, or
   * that failed last.
   */
  async #makeHedged<T>(
    attempts: CallAttempts<Channel>,
    first: Attempt<Channel>,
    make: MakeRequest<Channel, T>,
    afterMs: number,
    onLast: (attempt: Attempt<Channel>) => void,
  ): Promise<T> {
    let inProgress = 0;
    const run = (attempt: Attempt<Channel>): RunningAttempt<{ attempt: Attempt<Channel>; response: T }> => {
      inProgress++;
      const fail = (error: unknown): never => {
        attempt.recordFailure(error);
        if (--inProgress === 0) onLast(attempt);
        else attempts.addFailure(attempt, error);
        throw error;
      };
      const result = make(attempt).then((response) => ({ attempt, response }), fail);
      return { result, abandon: () => attempt.cancel() };
    };
    const beginSecond = (): ReturnType<typeof run> | undefined => {
      const second = attempts.beginHedge(first.target);
      return second && run(second);
    };
    const { attempt, response } = await hedge(run(first), { clock: this.#options.clock, afterMs, beginSecond });
    onLast(attempt);
    return response;
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
