import { HealthWatch } from '../client/health-watch.js';
import type { HealthChange } from '../core/health.js';
import type { Clock } from '../core/ports.js';
import type { Backend } from './backend.js';

/** Health of the backends that have a check. The worker is healthy when all of them are. */
export class BackendHealth {
  readonly #watches: readonly HealthWatch[];
  readonly #unhealthy: Set<Backend>;

  constructor(backends: readonly Backend[], clock: Clock, onChange: (change: HealthChange) => void) {
    const watched = backends.filter((backend) => backend.check !== undefined);
    this.#unhealthy = new Set(watched);
    this.#watches = watched.map(
      (backend) =>
        new HealthWatch({
          probe: (signal) => backend.check?.(signal) ?? Promise.resolve(),
          clock,
          timeoutMs: backend.checkTimeoutMs,
          onChange: (change) => {
            if (change.kind === 'healthy') this.#unhealthy.delete(backend);
            else this.#unhealthy.add(backend);
            onChange(change);
          },
        }),
    );
  }

  /** Whether the last check of every backend succeeded. A backend that has not been checked yet counts as unhealthy. */
  get areHealthy(): boolean {
    return this.#unhealthy.size === 0;
  }

  start(): void {
    for (const watch of this.#watches) watch.start();
  }

  /** Checks all backends immediately, for example after a call has failed. */
  checkNow(): void {
    for (const watch of this.#watches) watch.checkNow();
  }

  stop(): void {
    for (const watch of this.#watches) watch.stop();
  }
}
