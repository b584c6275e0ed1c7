import { AnyserveError } from '../core/errors.js';

/**
 * The bytes that all requests together may hold, from their first byte to the end of their call. Whatever is kept of a
 * request is reserved first, so that the total holds whatever callers send.
 */
export class MemoryBudget {
  readonly totalBytes: number;
  #freeBytes: number;

  constructor(totalBytes: number) {
    this.totalBytes = totalBytes;
    this.#freeBytes = totalBytes;
  }

  get freeBytes(): number {
    return this.#freeBytes;
  }

  /** Reserves bytes. Throws `resource_exhausted` at once when there are not as many. */
  reserve(bytes: number): Reservation {
    const reservation = new Reservation(this);
    reservation.resize(bytes);
    return reservation;
  }

  /** Moves bytes between the budget and a reservation; for {@link Reservation} only. */
  take(bytes: number): void {
    if (bytes > this.#freeBytes) {
      const held = this.totalBytes - this.#freeBytes;
      throw new AnyserveError(
        'resource_exhausted',
        `requests hold ${held} of the ${this.totalBytes} bytes that --max-decoding-bytes allows, and ${bytes} more are needed`,
      );
    }
    this.#freeBytes -= bytes;
  }
}

/** A part of the budget, held until it is released. */
export class Reservation {
  readonly #budget: MemoryBudget;
  #bytes = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Holds as many bytes from now on. Throws `resource_exhausted`, and stays as it was, when there is no room. */
  resize(bytes: number): void {
    this.#budget.take(bytes - this.#bytes);
    this.#bytes = bytes;
  }

  /** Gives everything back. A second call does nothing. */
  release(): void {
    this.resize(0);
  }
}
