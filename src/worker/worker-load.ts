import type { ReplicaLoad } from '../core/load.js';

/**
 * Load that a worker reports: its own calls, or those of its engine if the engine reports them. Other callers can use the
 * engine directly, and only the engine knows which of its calls wait. The engine's numbers are up to 2 s old, so the
 * calls that the worker has begun and finished since then are added.
 */
export class WorkerLoad implements ReplicaLoad {
  readonly limit: number | undefined;
  readonly #own: ReplicaLoad;
  #engine: ReplicaLoad | undefined;
  /** The worker's own running calls when the engine's load was read. */
  #runningAtReading = 0;

  /** `own` always has the current numbers. */
  constructor(own: ReplicaLoad) {
    this.#own = own;
    this.limit = own.limit;
  }

  /** Sets the load that the engine has now. Undefined: it isn't known. */
  setEngineLoad(load: ReplicaLoad | undefined): void {
    this.#engine = load;
    this.#runningAtReading = this.#own.running;
  }

  /** The calls that run in the engine. Together with those that wait there, at least the worker's own. */
  get running(): number {
    const { running } = this.#own;
    if (!this.#engine) return running;
    const sinceReading = running - this.#runningAtReading;
    return Math.max(0, this.#engine.running + sinceReading, running - this.#engine.waiting);
  }

  /** The calls that wait in the engine and in the worker. */
  get waiting(): number {
    return this.#own.waiting + (this.#engine?.waiting ?? 0);
  }
}
