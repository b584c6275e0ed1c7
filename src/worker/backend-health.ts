import { HealthWatch } from '../client/health-watch.js';
import type { HealthChange } from '../core/health.js';
import type { Clock } from '../core/ports.js';
import type { Backend } from './backend.js';

/** Watches over the backends that can say how they are. The worker is well when all of them are. */
export class BackendHealth {
  readonly #watches: readonly HealthWatch[];
  readonly #unwell: Set<Backend>;

  constructor(backends: readonly Backend[], clock: Clock, onChange: (change: HealthChange) => void) {
    const watched = backends.filter((backend) => backend.check !== undefined);
    this.#unwell = new Set(watched);
    this.#watches = watched.map(
      (backend) =>
        new HealthWatch({
          probe: (signal) => backend.check?.(signal) ?? Promise.resolve(),
          clock,
          timeoutMs: backend.checkLimitMs,
          onChange: (change) => {
            if (change.kind === 'healthy') this.#unwell.delete(backend);
            else this.#unwell.add(backend);
            onChange(change);
          },
        }),
    );
  }

  /** Whether every backend is well, as far as is known; one that was never looked at is not. */
  get areWell(): boolean {
    return this.#unwell.size === 0;
  }

  start(): void {
    for (const watch of this.#watches) watch.start();
  }

  /** Looks at once; for evidence that something has failed. */
  lookNow(): void {
    for (const watch of this.#watches) watch.checkNow();
  }

  stop(): void {
    for (const watch of this.#watches) watch.stop();
  }
}
