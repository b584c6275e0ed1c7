import type { ServerResponse } from 'node:http';

/** Maximum total size of large bodies, in bytes: 64 of the largest, or 1,000 of the usual size. */
const MAX_LARGE_BODIES_BYTES = 64 * 1024 * 1024;

/** Maximum size of a body that is not counted, in bytes. A connection takes as much memory. */
const MAX_UNCOUNTED_BYTES = 16 * 1024;

/**
 * Maximum size of a body that is parsed immediately, in bytes. A larger one waits for {@link
 * BodyMemory.waitForParseTurn}.
 */
export const MAX_IMMEDIATE_PARSE_BYTES = 2 * 1024;

/**
 * Limits the memory of large request bodies. A body counts from its first byte until its response is closed, because a
 * 422 response repeats parts of the body and can wait for a client that does not read.
 */
export class BodyMemory {
  readonly #reserved = new Map<ServerResponse, number>();
  #lastTurn = Promise.resolve();
  #freeBytes: number;

  /** Default: 64 MiB. */
  constructor(maxBytes = MAX_LARGE_BODIES_BYTES) {
    this.#freeBytes = maxBytes;
  }

  /**
   * Reserves memory for a request until its response is closed. `bytes` replaces what the request had reserved. Returns
   * false, and changes nothing, if not enough memory is free.
   */
  reserve(response: ServerResponse, bytes: number): boolean {
    if (bytes <= MAX_UNCOUNTED_BYTES) return true;
    const previousBytes = this.#reserved.get(response);
    const additionalBytes = bytes - (previousBytes ?? 0);
    if (additionalBytes > this.#freeBytes) return false;
    if (previousBytes === undefined) response.once('close', () => this.release(response));
    this.#reserved.set(response, bytes);
    this.#freeBytes -= additionalBytes;
    return true;
  }

  /**
   * Resolves when the caller can parse a body. Each iteration of the event loop gives one turn, so that other requests
   * are handled between two bodies: parsing 1 MiB can take 50 ms.
   */
  waitForParseTurn(): Promise<void> {
    this.#lastTurn = this.#lastTurn.then(waitForNextIteration);
    return this.#lastTurn;
  }

  /** Releases the memory of a request early, for a body that was parsed and a response that stays open. */
  release(response: ServerResponse): void {
    this.#freeBytes += this.#reserved.get(response) ?? 0;
    this.#reserved.delete(response);
  }
}

function waitForNextIteration(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
