import { status } from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { FrameDecoder } from './frame-decoder.js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';
import {
  createUnknownEncodingStatus,
  inflateWithinBudget,
  isCompressionEncoding,
  toInflationStatus,
} from './inflate.js';
import type { MemoryBudget, Reservation } from './memory-budget.js';
import { ReceivedMessage } from './received-message.js';
import type { RequestReader } from './request-watchdog.js';

/** Options of a {@link BudgetedRequestReader}. */
export interface BudgetedRequestReaderOptions {
  readonly budget: MemoryBudget;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  /** Whether the caller can send several requests. */
  readonly isStream: boolean;
  /** Whether requests are passed on as {@link ReceivedMessage}. Others are small and parsed immediately. */
  readonly hasTensors: boolean;
}

/** Estimated memory of a call without its messages: headers of up to 16 KiB, and the objects of grpc-js. */
const CALL_OVERHEAD_BYTES = 32 * 1024;

/** Estimated memory of a message in addition to its bytes. */
const MESSAGE_OVERHEAD_BYTES = 1024;

/** Reads the requests of a call and reserves memory for them until the handler has finished with them. */
export class BudgetedRequestReader implements RequestReader {
  readonly #call: GrpcJsCall;
  readonly #options: BudgetedRequestReaderOptions;
  readonly #decoder: FrameDecoder;
  readonly #callReservation: Reservation;
  /** Reservation for the message that is arriving. */
  #partialReservation: Reservation | undefined;
  /** Reservations for complete messages that have not been decompressed yet. */
  readonly #completeReservations: Reservation[] = [];
  /** Messages that no handler has taken yet. */
  readonly #untakenMessages: ReceivedMessage[] = [];
  /** Reservation for data that is buffered in the stream while the handler processes an earlier request. */
  #bufferedReservation: Reservation | undefined;
  #bufferedBytes = 0;
  #lastByteAtMs: number;
  #hasEnded = false;

  /** Throws `resource_exhausted` if the call exceeds the memory budget. */
  constructor(call: GrpcJsCall, options: BudgetedRequestReaderOptions) {
    this.#call = call;
    this.#options = options;
    this.#lastByteAtMs = options.clock.nowMs();
    this.#callReservation = options.budget.reserve(CALL_OVERHEAD_BYTES);
    this.#decoder = new FrameDecoder({
      maxMessageBytes: options.maxMessageBytes,
      maxMessagesPerFrame: options.isStream ? Number.POSITIVE_INFINITY : 2,
      onAllocate: (bytes) => this.#reserve(bytes),
      onComplete: () => this.#finishMessage(),
    });
    call.decoder = { write: (data) => this.#write(data) };
    call.decompressMessage = (message, encoding) => this.#decompress(message.subarray(5), encoding);
    if (options.isStream) this.#countBufferedBytes();
  }

  get lastProgressAtMs(): number {
    return this.#lastByteAtMs;
  }

  /** True while a request is incomplete. A stream can be idle between two requests. */
  get isWaiting(): boolean {
    return this.#options.isStream ? this.#decoder.isPartial : !this.#call.receivedHalfClose;
  }

  end(): void {
    this.#hasEnded = true;
    this.#callReservation.release();
    this.#partialReservation?.release();
    for (const reservation of this.#completeReservations) reservation.release();
    this.#bufferedReservation?.release();
    for (const { reservation } of this.#untakenMessages.splice(0)) reservation.release();
  }

  #write(data: Buffer): Buffer[] {
    this.#lastByteAtMs = this.#options.clock.nowMs();
    if (this.#bufferedBytes > 0) this.#setBufferedBytes(this.#bufferedBytes - data.length);
    return this.#decoder.write(data);
  }

  #reserve(bytes: number): void {
    this.#partialReservation ??= this.#options.budget.reserve(0);
    this.#partialReservation.resize(MESSAGE_OVERHEAD_BYTES + bytes);
  }

  #finishMessage(): void {
    if (this.#partialReservation) this.#completeReservations.push(this.#partialReservation);
    this.#partialReservation = undefined;
  }

  /** Decompresses the next complete message and returns it in the form that the method's deserializer expects. */
  #decompress(contents: Buffer, encoding: string): unknown {
    const reservation = this.#completeReservations.shift() as Reservation;
    if (encoding === 'identity') return this.#deliver(contents, reservation);
    if (!isCompressionEncoding(encoding)) {
      reservation.release();
      return Promise.reject(createUnknownEncodingStatus(encoding));
    }
    const { maxMessageBytes, budget } = this.#options;
    return inflateWithinBudget(contents, encoding, maxMessageBytes, budget)
      .finally(() => reservation.release())
      .then(
        ({ inflated, reservation: inflatedReservation }) => this.#deliver(inflated, inflatedReservation),
        (error) => {
          if (!(error instanceof AnyserveError)) throw toInflationStatus(error, maxMessageBytes);
          throw { code: status.RESOURCE_EXHAUSTED, details: error.message };
        },
      );
  }

  #deliver(contents: Buffer, reservation: Reservation): Buffer | ReceivedMessage {
    if (!this.#options.hasTensors || this.#hasEnded) {
      reservation.release();
      return contents;
    }
    // Messages are taken in order, so indexOf finds the first element.
    const onTake = (): void => void this.#untakenMessages.splice(this.#untakenMessages.indexOf(message), 1);
    const message: ReceivedMessage = new ReceivedMessage(contents, reservation, onTake);
    this.#untakenMessages.push(message);
    return message;
  }

  /** Counts arriving bytes in the stream itself, because grpc-js reads them only when it is ready for the next request. */
  #countBufferedBytes(): void {
    const { stream } = this.#call;
    const push = stream.push.bind(stream);
    stream.push = (chunk: Buffer | null, encoding?: BufferEncoding) => {
      if (chunk === null) return push(chunk, encoding);
      try {
        this.#setBufferedBytes(this.#bufferedBytes + chunk.length);
      } catch (error) {
        const details = getErrorMessage(error);
        setImmediate(() => this.#call.sendStatus({ code: status.RESOURCE_EXHAUSTED, details }));
        return true;
      }
      return push(chunk, encoding);
    };
  }

  #setBufferedBytes(bytes: number): void {
    if (this.#hasEnded) return;
    this.#bufferedReservation ??= this.#options.budget.reserve(0);
    this.#bufferedReservation.resize(Math.max(0, bytes));
    this.#bufferedBytes = Math.max(0, bytes);
  }
}
