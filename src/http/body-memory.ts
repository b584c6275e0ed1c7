import type { ServerResponse } from 'node:http';

/** Maximum size of all large bodies together, in bytes: 64 of the largest, or 1,000 of usual large ones. */
const MAX_BYTES = 64 * 1024 * 1024;

/** Maximum size of a body that isn't counted: connections take as much. */
const SMALL_BYTES = 16 * 1024;

/** Maximum size of a body that is parsed at once, in bytes. A larger one waits for its turn. */
export const MAX_IMMEDIATE_PARSE_BYTES = 2 * 1024;

/**
 * The memory of large request bodies, from their first byte until their request is answered. A response to a refused body can
 * repeat it, and wait for a reader that takes nothing.
 */
export class BodyMemory {
  readonly #held = new Map<ServerResponse, number>();
  #lastTurn = Promise.resolve();
  #freeBytes: number;

  constructor(maxBytes = MAX_BYTES) {
    this.#freeBytes = maxBytes;
  }

  /** Has a request hold as many bytes from now on, until its response is closed. Returns false when there is no room. */
  reserve(response: ServerResponse, bytes: number): boolean {
    if (bytes <= SMALL_BYTES) return true;
    const before = this.#held.get(response);
    const more = bytes - (before ?? 0);
    if (more > this.#freeBytes) return false;
    if (before === undefined) response.once('close', () => this.release(response));
    this.#held.set(response, bytes);
    this.#freeBytes -= more;
    return true;
  }

  /**
   * Resolves when it is the turn of one more body to be parsed. Only one has a turn in an iteration of the event loop: 1 MiB can
   * take 50 ms, and other requests are answered between two bodies, however many arrive at once.
   */
  waitForParseTurn(): Promise<void> {
    this.#lastTurn = this.#lastTurn.then(nextIteration);
    return this.#lastTurn;
  }

  /** Gives back what a request holds: its body was read, and its response goes on for long. */
  release(response: ServerResponse): void {
    this.#freeBytes += this.#held.get(response) ?? 0;
    this.#held.delete(response);
  }
}

function nextIteration(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
