import type { Clock } from '../../src/core/ports.js';

interface Task {
  readonly atMs: number;
  readonly run: () => void;
  isCancelled: boolean;
}

/** Clock that stands still until a test advances it. */
export class ManualClock implements Clock {
  #nowMs = 0;
  /** In the order in which they run. */
  readonly #tasks: Task[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  epochMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  schedule(delayMs: number, run: () => void): () => void {
    const task = { atMs: this.#nowMs + delayMs, run, isCancelled: false };
    let at = this.#tasks.length;
    while (at > 0 && (this.#tasks[at - 1] as Task).atMs > task.atMs) at--;
    this.#tasks.splice(at, 0, task);
    return () => {
      task.isCancelled = true;
    };
  }

  /** Advances time and runs the tasks that fall due, in order. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    while (this.nextDelayMs <= untilMs - this.#nowMs) {
      const next = this.#tasks.shift() as Task;
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = untilMs;
  }

  /** Delay of the next task, in ms from now. Infinity if there is none. */
  get nextDelayMs(): number {
    while (this.#tasks[0]?.isCancelled) this.#tasks.shift();
    return (this.#tasks[0]?.atMs ?? Number.POSITIVE_INFINITY) - this.#nowMs;
  }

  /** Advances time without running tasks until the end, as a stopped process experiences it: due tasks then run late. */
  pause(ms: number): void {
    this.#nowMs += ms;
    this.advance(0);
  }

  /** Returns the delays of the pending tasks, in ms from now, shortest first. */
  pending(): number[] {
    return this.#tasks.filter(({ isCancelled }) => !isCancelled).map(({ atMs }) => atMs - this.#nowMs);
  }
}
