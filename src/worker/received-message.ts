import type { Reservation } from './memory-budget.js';

/**
 * A serialized request and its memory reservation. grpc-js keeps a reference to a request until the call ends, but this
 * object drops its bytes as soon as they are taken.
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

  /** Returns the bytes once, and then an empty buffer. The caller must release the reservation after using the request. */
  take(): Buffer {
    const bytes = this.#bytes ?? Buffer.alloc(0);
    this.#bytes = undefined;
    this.#onTake();
    return bytes;
  }
}
