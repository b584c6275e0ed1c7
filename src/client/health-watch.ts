import { AnyserveError, getErrorMessage } from '../core/errors.js';
import {
  diagnose,
  HEALTH_CHECK_TIMEOUT_MS,
  type HealthChange,
  type HealthCheckResult,
  type HealthState,
  UNKNOWN_HEALTH,
} from '../core/health.js';
import type { Clock } from '../core/ports.js';
import { raceWithAbort, sleep } from './async-waits.js';

/** What a health watch needs. */
export interface HealthWatchOptions {
  /**
   * Looks at the server once; rejects with the reason when it is not well. `unavailable` means for certain: one such
   * look is enough. Its signal is aborted when it takes too long, or when nobody wants to know any more.
   */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  /** Time that a look can take, in ms. Default: 1,000. */
  readonly limitMs?: number | undefined;
  readonly onChange: (change: HealthChange) => void;
}

/** Looks at a server again and again, and tells when it turns healthy or unhealthy. */
export class HealthWatch {
  readonly #options: HealthWatchOptions;
  readonly #stop = new AbortController();
  /** Ends the present pause, or the one after the present look. */
  #hurry = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: HealthWatchOptions) {
    this.#options = options;
  }

  /** Looks for the first time, and from then on by itself. */
  start(): void {
    this.#running ??= this.#watch();
  }

  /** Looks no more, and tells nothing more. */
  stop(): void {
    this.#stop.abort();
    this.#hurry.abort();
  }

  /** Looks at once instead of at the next turn, or again when it is just looking: there is evidence of a failure. */
  checkNow(): void {
    this.#hurry.abort();
  }

  async #watch(): Promise<void> {
    const { clock, onChange } = this.#options;
    const { signal } = this.#stop;
    let health: HealthState = UNKNOWN_HEALTH;
    while (!signal.aborted) {
      this.#hurry = new AbortController();
      const look = await this.#look();
      if (signal.aborted) return;
      const diagnosis = diagnose(health, look);
      health = diagnosis.health;
      if (diagnosis.change) onChange(diagnosis.change);
      await sleep(clock, diagnosis.nextCheckMs, this.#hurry.signal);
    }
  }

  async #look(): Promise<HealthCheckResult> {
    const limit = new AbortController();
    const end = (reason: unknown): void => limit.abort(reason);
    const onStop = (): void => end(this.#stop.signal.reason);
    const { clock, limitMs = HEALTH_CHECK_TIMEOUT_MS } = this.#options;
    const cancelLimit = clock.schedule(limitMs, () => end(tooLate(limitMs)));
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    try {
      await raceWithAbort(this.#options.probe(limit.signal), limit.signal);
      return { kind: 'answered' };
    } catch (error) {
      const isCertain = error instanceof AnyserveError && error.code === 'unavailable';
      return { kind: isCertain ? 'refused' : 'failed', reason: getErrorMessage(error) };
    } finally {
      cancelLimit();
      this.#stop.signal.removeEventListener('abort', onStop);
    }
  }
}

function tooLate(limitMs: number): AnyserveError {
  return new AnyserveError('deadline_exceeded', `no answer within ${limitMs / 1000} s`);
}
