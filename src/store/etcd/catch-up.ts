import type { Clock } from '../../core/ports.js';

/** Dependencies of {@link CatchUp}. */
export interface CatchUpOptions {
  readonly clock: Clock;
  /** Returns up to which time the mirror has every record. */
  readonly getFreshAtMs: () => number;
  /** Makes the mirror prove as soon as possible that it is fresh. */
  readonly hurry: () => void;
}

/** Maximum time to wait for the mirror, in ms. */
const MAX_WAIT_MS = 1000;

/** Minimum time between two markers that a wait asks for, in ms. All servers receive each marker. */
const HURRY_INTERVAL_MS = 100;

/** Maximum number of waits. Anybody can ask for a lease that doesn't exist. */
const MAX_WAITS = 1000;

/**
 * Waits until the mirror has everything that etcd had when the wait began. A lease that is not in the mirror can have been
 * granted by another server a moment ago.
 */
export class CatchUp {
  readonly #options: CatchUpOptions;
  readonly #waits = new Map<(isCurrent: boolean) => void, number>();
  #hurriedAtMs = Number.NEGATIVE_INFINITY;
  #cancelHurry: (() => void) | undefined;

  constructor(options: CatchUpOptions) {
    this.#options = options;
  }

  /** Resolves to true when the mirror has caught up. Resolves to false after 1 s, or if there are too many waits. */
  wait(): Promise<boolean> {
    if (this.#waits.size >= MAX_WAITS) return Promise.resolve(false);
    const { clock } = this.#options;
    return new Promise((resolve) => {
      const finish = (isCurrent: boolean): void => {
        cancel();
        this.#waits.delete(finish);
        resolve(isCurrent);
      };
      const cancel = clock.schedule(MAX_WAIT_MS, () => finish(false), { background: true });
      this.#waits.set(finish, clock.nowMs());
      this.#hurry();
    });
  }

  /** Ends the waits that the mirror has caught up with. To be called when a marker has returned, or a list is complete. */
  check(): void {
    const freshAtMs = this.#options.getFreshAtMs();
    for (const [finish, sinceMs] of [...this.#waits]) if (freshAtMs >= sinceMs) finish(true);
  }

  close(): void {
    this.#cancelHurry?.();
    for (const finish of [...this.#waits.keys()]) finish(false);
  }

  #hurry(): void {
    if (this.#cancelHurry) return;
    const { clock, hurry } = this.#options;
    const waitMs = this.#hurriedAtMs + HURRY_INTERVAL_MS - clock.nowMs();
    const run = (): void => {
      this.#cancelHurry = undefined;
      this.#hurriedAtMs = clock.nowMs();
      hurry();
    };
    if (waitMs <= 0) run();
    else this.#cancelHurry = clock.schedule(waitMs, run, { background: true });
  }
}
