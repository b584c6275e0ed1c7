import type { ModelCall } from './model-call.js';

/**
 * The calls in progress, in no order. They are in an array and not in a `Set`, which replaces its table every few hundred changes:
 * the dead tables in V8's old generation kept finished calls alive until the next full collection, 25 MB of them.
 */
export class CallsInProgress implements Iterable<ModelCall> {
  readonly #calls: ModelCall[] = [];

  add(call: ModelCall): void {
    call.position = this.#calls.push(call) - 1;
  }

  /** Removes a call that was added. The last one takes its place. */
  remove({ position }: ModelCall): void {
    const last = this.#calls.pop();
    if (!last || last.position === position) return;
    this.#calls[position] = last;
    last.position = position;
  }

  [Symbol.iterator](): Iterator<ModelCall> {
    return this.#calls.values();
  }
}
