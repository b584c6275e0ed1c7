import type { Clock, Events, RegistryEvent } from '../../core/ports.js';

/** Dependencies of a monitor. */
export interface ProblemMonitorOptions {
  readonly clock: Clock;
  readonly events: Events<RegistryEvent>;
  /** Returns what doesn't work at present. */
  readonly listProblems: () => readonly string[];
}

/** Time between two checks, in ms. */
const CHECK_INTERVAL_MS = 1000;

/** Number of consecutive checks that find a problem, or none, before it is reported. An etcd that restarts is not worth a line. */
const CHECKS_TO_REPORT = 3;

/** Reports when the store begins to have problems, and when it has none again. */
export class ProblemMonitor {
  readonly #options: ProblemMonitorOptions;
  #isReported = false;
  /** Number of consecutive checks that differ from what was reported. */
  #differing = 0;
  #cancelTimer = (): void => {};

  constructor(options: ProblemMonitorOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, listProblems, events } = this.#options;
    this.#cancelTimer = clock.schedule(CHECK_INTERVAL_MS, () => this.start(), { background: true });
    const problems = listProblems();
    this.#differing = problems.length > 0 === this.#isReported ? 0 : this.#differing + 1;
    if (this.#differing < CHECKS_TO_REPORT) return;
    this.#isReported = !this.#isReported;
    this.#differing = 0;
    if (this.#isReported) events.emit({ kind: 'store_degraded', problem: problems.join('; ') });
    else events.emit({ kind: 'store_recovered' });
  }

  close(): void {
    this.#cancelTimer();
  }
}
