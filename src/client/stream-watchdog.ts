import { formatDuration } from '../core/durations.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';

/** How long a stream may be silent, in milliseconds; 0: for ever, that is until the deadline. */
export interface StreamTimeouts {
  /** From the request to the first part of the answer. */
  readonly firstPartTimeoutMs: number;
  /** From one part to the next. Parts without text count. */
  readonly silenceTimeoutMs: number;
}

/** A source of parts that may have the next one at hand. */
interface Source<T> {
  readonly isReady: boolean;
  next(): Promise<T | undefined>;
}

/** Ends the wait for a stream that went silent, long before the deadline that a stream needs. */
export class StreamWatchdog {
  readonly #clock: Clock;
  readonly #limits: StreamTimeouts;
  #parts = 0;

  constructor(clock: Clock, limits: StreamTimeouts) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** The next part. Rejects with `deadline_exceeded` when it takes too long. Time that nobody waits does not count. */
  async next<T>(source: Source<T>): Promise<T | undefined> {
    const { firstPartTimeoutMs, silenceTimeoutMs } = this.#limits;
    const limitMs = this.#parts === 0 ? firstPartTimeoutMs : silenceTimeoutMs;
    const waiting = source.next();
    const part = source.isReady || limitMs === 0 ? await waiting : await this.#within(limitMs, waiting);
    this.#parts++;
    return part;
  }

  #within<T>(limitMs: number, waiting: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancelTimer = this.#clock.schedule(limitMs, () => reject(this.#tooSilent(limitMs)));
      waiting.then(resolve, reject).finally(cancelTimer);
    });
  }

  #tooSilent(limitMs: number): AnyserveError {
    const [what, option] =
      this.#parts === 0
        ? ['no part of the answer came', '--first-part-timeout (firstPartTimeoutMs)']
        : ['the stream was silent', '--silence-timeout (silenceTimeoutMs)'];
    return new AnyserveError('deadline_exceeded', `${what} for ${formatDuration(limitMs)}; ${option} sets the limit`);
  }
}
