import type { Clock } from '../../src/core/ports.js';

interface Task {
  readonly atMs: number;
  readonly run: () => void;
}

/** Clock that stands still until a test advances it. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #tasks = new Set<Task>();

  nowMs(): number {
    return this.#nowMs;
  }

  epochMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  schedule(delayMs: number, run: () => void): () => void {
    const task = { atMs: this.#nowMs + delayMs, run };
    this.#tasks.add(task);
    return () => void this.#tasks.delete(task);
  }

  /** Advances time and runs the tasks that fall due, in order. */
  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const [next] = [...this.#tasks].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
      if (!next) break;
      this.#tasks.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = untilMs;
  }

  /** Advances time without running tasks until the end, as a stopped process experiences it: due tasks then run late. */
  pause(ms: number): void {
    this.#nowMs += ms;
    this.advance(0);
  }

  /** Returns the delays of the pending tasks, in ms from now, shortest first. */
  pending(): number[] {
    return [...this.#tasks].map(({ atMs }) => atMs - this.#nowMs).sort((a, b) => a - b);
  }
}
