import { AnyserveError } from '../core/errors.js';

/**
 * Memory budget of all requests together, in bytes. A request's memory is reserved before it is allocated, except for at most
 * 16 KiB that are inflated synchronously, and is released at the end of its call. So the limit holds no matter what callers
 * send.
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

  /** Reserves memory. Throws `resource_exhausted` if not enough is free. */
  reserve(bytes: number): Reservation {
    const reservation = new Reservation(this);
    reservation.resize(bytes);
    return reservation;
  }

  /** Moves bytes from the budget to a reservation, or back if negative. Only {@link Reservation} calls this. */
  take(bytes: number): void {
    if (bytes > this.#freeBytes) {
      const usedBytes = this.totalBytes - this.#freeBytes;
      throw new AnyserveError(
        'resource_exhausted',
        `not enough memory for requests: ${usedBytes} of ${this.totalBytes} bytes (--max-decoding-bytes) are in use, and ${bytes} more are needed`,
      );
    }
    this.#freeBytes -= bytes;
  }
}

/** A reserved part of a {@link MemoryBudget}. */
export class Reservation {
  readonly #budget: MemoryBudget;
  #bytes = 0;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Changes the reserved size. Throws `resource_exhausted` and leaves it unchanged if not enough memory is free. */
  resize(bytes: number): void {
    this.#budget.take(bytes - this.#bytes);
    this.#bytes = bytes;
  }

  /** Releases all reserved memory. A second call has no effect. */
  release(): void {
    this.resize(0);
  }
}
