import { formatDuration } from '../core/durations.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';

/** Timeouts for the messages of a stream, in ms. 0 means no timeout before the call's deadline. */
export interface StreamTimeouts {
  /** Timeout from the request to the first message. */
  readonly firstMessageTimeoutMs: number;
  /** Maximum time between two messages. Messages without text count. */
  readonly streamIdleTimeoutMs: number;
}

/** A source of messages. `isReady` is true if the next message or the end can be read without waiting. */
interface Source<T> {
  readonly isReady: boolean;
  next(): Promise<T | undefined>;
}

/** Ends a stream that went silent, long before the deadline of the whole call. */
export class StreamWatchdog {
  readonly #clock: Clock;
  readonly #timeouts: StreamTimeouts;
  #messages = 0;

  constructor(clock: Clock, timeouts: StreamTimeouts) {
    this.#clock = clock;
    this.#timeouts = timeouts;
  }

  /**
   * Returns the next message. Rejects with `deadline_exceeded` if it takes too long. Time between two calls of this method,
   * when the reader is busy, doesn't count.
   */
  async next<T>(source: Source<T>): Promise<T | undefined> {
    const { firstMessageTimeoutMs, streamIdleTimeoutMs } = this.#timeouts;
    const timeoutMs = this.#messages === 0 ? firstMessageTimeoutMs : streamIdleTimeoutMs;
    const pending = source.next();
    const message = source.isReady || timeoutMs === 0 ? await pending : await this.#waitFor(pending, timeoutMs);
    this.#messages++;
    return message;
  }

  #waitFor<T>(pending: Promise<T>, timeoutMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancelTimer = this.#clock.schedule(timeoutMs, () => reject(this.#createTimeoutError(timeoutMs)));
      pending.then(resolve, reject).finally(cancelTimer);
    });
  }

  #createTimeoutError(timeoutMs: number): AnyserveError {
    const [failure, option] =
      this.#messages === 0
        ? ['no message of the stream arrived', '--first-message-timeout (firstMessageTimeoutMs)']
        : ['the stream was silent', '--stream-idle-timeout (streamIdleTimeoutMs)'];
    const message = `${failure} for ${formatDuration(timeoutMs)}; ${option} sets the limit`;
    return new AnyserveError('deadline_exceeded', message);
  }
}
