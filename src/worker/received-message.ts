import type { Reservation } from './memory-budget.js';

/**
 * A request as it arrived, and the memory that is reserved for it. The gRPC library keeps a request until its call has ended; this
 * lets go of the bytes when they are taken.
 */
export class ReceivedMessage {
  readonly reservation: Reservation;
  #bytes: Buffer | undefined;
  readonly #onTake: () => void;

  constructor(bytes: Buffer, reservation: Reservation, onTake: () => void) {
    this.#bytes = bytes;
    this.#onTake = onTake;
    this.reservation = reservation;
  }

  /** The bytes, once. Whoever takes them releases the reservation when it is done with the request. */
  take(): Buffer {
    const bytes = this.#bytes ?? Buffer.alloc(0);
    this.#bytes = undefined;
    this.#onTake();
    return bytes;
  }
}
