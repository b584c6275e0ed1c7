import type { Clock, Log, LogDetails } from '../core/ports.js';
import { truncateText } from '../core/quoting.js';

/** Maximum number of lines of one kind at once, and the time after which one more is allowed, in ms. */
const BURST_LINES = 10;
const LINE_INTERVAL_MS = 1000;

/** Time after which an unused kind has its full burst again, in ms. Its state is then forgotten. */
const FULL_AFTER_MS = BURST_LINES * LINE_INTERVAL_MS;

/** Maximum number of kinds. Beyond it, the kind that was unused for the longest time gets a new burst. */
const MAX_KINDS = 10_000;

/** Maximum length of a line, in UTF-16 units. */
const MAX_LINE_UNITS = 1024;

/** The parts of a clock that limits need. */
type LimitClock = Pick<Clock, 'nowMs' | 'schedule'>;

/**
 * Limits how many lines others can cause in a log: for each kind, a burst of 10 and then one per second. That line has the
 * number of omitted lines before it.
 */
export class LineLimits {
  readonly #log: Log;
  readonly #clock: LimitClock;
  /** The least recently used kind is first. */
  readonly #kinds = new Map<string, LimitedLog>();

  constructor(log: Log, clock: LimitClock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Returns the log for lines of a kind. Call it for each line, so that unused kinds can be forgotten. */
  getLog(kind: string): Log {
    const limited = this.#kinds.get(kind) ?? new LimitedLog(this.#log, this.#clock);
    this.#kinds.delete(kind);
    for (const [oldest, { usedAtMs }] of this.#kinds) {
      if (this.#clock.nowMs() - usedAtMs < FULL_AFTER_MS && this.#kinds.size < MAX_KINDS) break;
      this.#kinds.delete(oldest);
    }
    this.#kinds.set(kind, limited);
    return limited;
  }
}

/** A log for lines of one kind, as a token bucket. */
class LimitedLog implements Log {
  readonly #log: Log;
  readonly #clock: LimitClock;
  /** Time at which the full burst is available again. It is later by one interval for each line. */
  #fullAtMs = Number.NEGATIVE_INFINITY;
  #omitted = 0;
  #last = (): void => {};

  constructor(log: Log, clock: LimitClock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** Time of the last line, or later. */
  get usedAtMs(): number {
    return this.#fullAtMs;
  }

  info(message: string, details?: LogDetails): void {
    this.#write('info', message, details);
  }

  warn(message: string, details?: LogDetails): void {
    this.#write('warn', message, details);
  }

  #write(level: keyof Log, message: string, details: LogDetails | undefined): void {
    const nowMs = this.#clock.nowMs();
    const waitMs = this.#fullAtMs - nowMs - (BURST_LINES - 1) * LINE_INTERVAL_MS;
    if (waitMs <= 0 && this.#omitted === 0) {
      this.#send(level, message, details);
      return;
    }
    this.#last = () => this.#send(level, message, details);
    // The last omitted line is logged when the next one is allowed, even if none follows.
    if (this.#omitted++ === 0) this.#clock.schedule(Math.max(0, waitMs), () => this.#last(), { background: true });
  }

  #send(level: keyof Log, message: string, details: LogDetails | undefined): void {
    const more = this.#omitted - 1;
    this.#omitted = 0;
    this.#fullAtMs = Math.max(this.#fullAtMs, this.#clock.nowMs()) + LINE_INTERVAL_MS;
    const line = truncateText(message, MAX_LINE_UNITS);
    if (more <= 0) this.#log[level](line, details);
    else {
      const fields = details && { ...details, omitted: more };
      this.#log[level](`${line} … and ${more.toLocaleString('en-US')} more like this`, fields);
    }
  }
}
