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

/** Options of a {@link HealthWatch}. */
export interface HealthWatchOptions {
  /**
   * Checks the server once. Rejects with the reason if it isn't healthy. `unavailable` means that it is certainly down, so
   * one such check is enough. The signal is aborted after the timeout, and when the watch stops.
   */
  readonly probe: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  /** Timeout of a check, in ms. Default: 1,000. */
  readonly timeoutMs?: number | undefined;
  readonly onChange: (change: HealthChange) => void;
}

/** Checks a server periodically, and reports when it becomes healthy or unhealthy. */
export class HealthWatch {
  readonly #options: HealthWatchOptions;
  readonly #stop = new AbortController();
  /** Ends the current wait, or the wait after the check in progress. */
  #skipWait = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: HealthWatchOptions) {
    this.#options = options;
  }

  /** Starts the periodic checks. */
  start(): void {
    this.#running ??= this.#watch();
  }

  /** Stops the checks. Nothing is reported after this. */
  stop(): void {
    this.#stop.abort();
    this.#skipWait.abort();
  }

  /** Checks at once, or again after the check in progress. To be called when there are signs of a failure. */
  checkNow(): void {
    this.#skipWait.abort();
  }

  async #watch(): Promise<void> {
    const { clock, onChange } = this.#options;
    const { signal } = this.#stop;
    let health: HealthState = UNKNOWN_HEALTH;
    while (!signal.aborted) {
      this.#skipWait = new AbortController();
      const result = await this.#check();
      if (signal.aborted) return;
      const diagnosis = diagnose(health, result);
      health = diagnosis.health;
      if (diagnosis.change) onChange(diagnosis.change);
      await sleep(clock, diagnosis.nextCheckMs, this.#skipWait.signal);
    }
  }

  async #check(): Promise<HealthCheckResult> {
    const controller = new AbortController();
    const onStop = (): void => controller.abort(this.#stop.signal.reason);
    const { clock, timeoutMs = HEALTH_CHECK_TIMEOUT_MS } = this.#options;
    const startedAtMs = clock.nowMs();
    const cancelTimeout = clock.schedule(timeoutMs, () => controller.abort(createTimeoutError(timeoutMs)));
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    try {
      await raceWithAbort(this.#options.probe(controller.signal), controller.signal);
      return { kind: 'responded' };
    } catch (error) {
      const isCertain = error instanceof AnyserveError && error.code === 'unavailable';
      const tookMs = clock.nowMs() - startedAtMs;
      return { kind: isCertain ? 'refused' : 'failed', reason: getErrorMessage(error), tookMs };
    } finally {
      cancelTimeout();
      this.#stop.signal.removeEventListener('abort', onStop);
    }
  }
}

function createTimeoutError(timeoutMs: number): AnyserveError {
  return new AnyserveError('deadline_exceeded', `no response within ${timeoutMs / 1000} s`);
}
