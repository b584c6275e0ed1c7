import type { ReplicaLoad } from '../../core/load.js';
import type { Clock } from '../../core/ports.js';
import { sleep } from '../async-waits.js';
import { parseEngineMetrics } from './engine-metrics.js';

/** Interval at which the metrics of an engine are read, in ms. */
const READ_INTERVAL_MS = 2000;

/** Delay after a request without a response, in ms. The engine can be starting. */
const RETRY_DELAY_MS = 10_000;

/** Interval at which a server without known metrics is asked again, in ms. An engine can be restarted with them. */
const UNKNOWN_INTERVAL_MS = 60_000;

/** Time after which a load is no longer known, in ms. */
const MAX_LOAD_AGE_MS = 10_000;

/** Options of an {@link EngineLoad}. */
export interface EngineLoadOptions {
  /** Fetches the metrics of the engine. Resolves to undefined if it has none, and rejects if it doesn't respond. */
  readonly fetchMetrics: (signal: AbortSignal) => Promise<string | undefined>;
  readonly clock: Clock;
  /** Called with each load that is read, and with undefined when the load is no longer known. */
  readonly onLoad: (load: ReplicaLoad | undefined) => void;
}

/** Reads the load of an engine from its metrics, again and again. Failures are silent: most servers have no such metrics. */
export class EngineLoad {
  readonly #options: EngineLoadOptions;
  readonly #stop = new AbortController();
  #isKnown = false;
  #work: number | undefined;
  #workedAtMs = Number.NEGATIVE_INFINITY;
  #readAtMs = 0;
  #running: Promise<void> | undefined;

  constructor(options: EngineLoadOptions) {
    this.#options = options;
  }

  /** Starts reading. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Stops reading. Nothing is reported after this. */
  stop(): void {
    this.#stop.abort();
  }

  /** Returns whether there is a sign since this time that the engine works on calls. */
  hasWorkedSince(timeMs: number): boolean {
    return this.#workedAtMs >= timeMs;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const delayMs = await this.#read();
      await sleep(this.#options.clock, delayMs, signal);
    }
  }

  /** Reads the metrics once. Returns the delay until the next time. */
  async #read(): Promise<number> {
    const { fetchMetrics, clock, onLoad } = this.#options;
    const { signal } = this.#stop;
    const text = await fetchMetrics(signal).catch(() => null);
    if (signal.aborted) return 0;
    const metrics = text ? parseEngineMetrics(text) : undefined;
    if (metrics) {
      this.#isKnown = true;
      this.#readAtMs = clock.nowMs();
      this.#recordWork(metrics.work);
      onLoad(metrics.load);
      return READ_INTERVAL_MS;
    }
    // An engine that doesn't respond once is often only busy, so its last load stays for a while.
    if (this.#isKnown && (text !== null || clock.nowMs() - this.#readAtMs >= MAX_LOAD_AGE_MS)) {
      this.#isKnown = false;
      onLoad(undefined);
    }
    if (text !== null) return UNKNOWN_INTERVAL_MS;
    return this.#isKnown ? READ_INTERVAL_MS : RETRY_DELAY_MS;
  }

  /** Compares the engine's counters with those of the previous reading. A restart of the engine sets them back. */
  #recordWork(work: number | undefined): void {
    if (work !== undefined && this.#work !== undefined && work > this.#work) this.#workedAtMs = this.#readAtMs;
    this.#work = work;
  }
}
