import type { ReplicaId } from '../../core/ids.js';
import type { Clock } from '../../core/ports.js';

/** Dependencies of the waits. */
export interface SettledWaitsOptions {
  readonly clock: Clock;
  /** Returns whether etcd has what this server knows of an id. */
  readonly isSettled: (id: ReplicaId) => boolean;
}

/** Maximum wait for etcd, in ms. A registrant is not kept waiting longer, because its replica is routable here already. */
const MAX_WAIT_MS = 1000;

/** The requests that wait until etcd has a change, or until they have waited long enough. */
export class SettledWaits {
  readonly #options: SettledWaitsOptions;
  readonly #waiting = new Map<ReplicaId, Set<() => void>>();

  constructor(options: SettledWaitsOptions) {
    this.#options = options;
  }

  /** Resolves when etcd has what this server knows of the id, after 1 s, or when the store closes. */
  wait(id: ReplicaId): Promise<void> {
    if (this.#options.isSettled(id)) return Promise.resolve();
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(id) ?? new Set();
      this.#waiting.set(id, waiting);
      const finish = (): void => {
        cancel();
        waiting.delete(finish);
        if (waiting.size === 0 && this.#waiting.get(id) === waiting) this.#waiting.delete(id);
        resolve();
      };
      const cancel = this.#options.clock.schedule(MAX_WAIT_MS, finish, { background: true });
      waiting.add(finish);
    });
  }

  /** Ends the waits for an id if etcd has it now. To be called when that can have changed. */
  check(id: ReplicaId): void {
    const waiting = this.#waiting.get(id);
    if (waiting && this.#options.isSettled(id)) for (const finish of [...waiting]) finish();
  }

  close(): void {
    for (const waiting of [...this.#waiting.values()]) for (const finish of [...waiting]) finish();
  }
}
