import type { Clock } from '../core/ports.js';

/** Maximum time of a turn of the event loop for queued tasks, in ms. The last task of a turn can exceed it. */
const SLICE_MS = 5;

/** Spreads work over turns of the event loop, so that requests are handled in between. */
export class TurnQueue {
  readonly #clock: Clock;
  /** The tasks that wait, and those that the current turn has run. */
  readonly #tasks: (() => void)[] = [];
  #lastTurn = Promise.resolve();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Runs short tasks in their order, as many in a turn as there is time for. */
  add(task: () => void): void {
    if (this.#tasks.push(task) === 1) this.#runLater();
  }

  /** Resolves in a later turn, of which the caller can use a part. Each turn is given to one caller. */
  wait(): Promise<void> {
    this.#lastTurn = this.#lastTurn.then(() => new Promise((resolve) => void this.#clock.schedule(0, resolve)));
    return this.#lastTurn;
  }

  #runLater(): void {
    this.#clock.schedule(0, () => this.#runSlice());
  }

  #runSlice(): void {
    const endsAtMs = this.#clock.nowMs() + SLICE_MS;
    let done = 0;
    while (done < this.#tasks.length && this.#clock.nowMs() < endsAtMs) this.#tasks[done++]?.();
    this.#tasks.splice(0, done);
    if (this.#tasks.length > 0) this.#runLater();
  }
}
