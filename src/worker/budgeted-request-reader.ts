import { status } from '@grpc/grpc-js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { FrameDecoder } from './frame-decoder.js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';
import { inflateWithinBudget, isCompressionEncoding } from './inflate.js';
import type { MemoryBudget, Reservation } from './memory-budget.js';
import { createUnknownEncodingStatus, toInflationStatus } from './public-request-reader.js';
import { ReceivedMessage } from './received-message.js';
import type { RequestReader } from './request-watchdog.js';

export interface BudgetedRequestReaderOptions {
  readonly budget: MemoryBudget;
  readonly clock: Clock;
  readonly maxMessageBytes: number;
  /** Whether the call has several requests. */
  readonly isStream: boolean;
  /** Whether requests go to a handler as {@link ReceivedMessage}. Others are small, and read at once. */
  readonly hasTensors: boolean;
}

/** What a call is reckoned to hold besides its messages: its headers, of 16 KiB at most, and objects of the gRPC library. */
const CALL_BYTES = 32 * 1024;

/** What a message is reckoned to hold besides its bytes. */
const MESSAGE_BYTES = 1024;

/** Reads the requests of a call, and reserves the memory that they hold until the handler is done with them. */
export class BudgetedRequestReader implements RequestReader {
  readonly #inside: GrpcJsCall;
  readonly #options: BudgetedRequestReaderOptions;
  readonly #decoder: FrameDecoder;
  readonly #call: Reservation;
  /** For the message that is coming in. */
  #incoming: Reservation | undefined;
  /** For complete messages that were not read yet. */
  readonly #complete: Reservation[] = [];
  /** Messages that no handler has taken yet. */
  readonly #untaken: ReceivedMessage[] = [];
  /** For what has arrived on a stream, and waits there while the handler is busy with an earlier request. */
  #waiting: Reservation | undefined;
  #unread = 0;
  #lastByteAtMs: number;
  #hasEnded = false;

  /** Throws `resource_exhausted` when there is no room for the call. */
  constructor(inside: GrpcJsCall, options: BudgetedRequestReaderOptions) {
    this.#inside = inside;
    this.#options = options;
    this.#lastByteAtMs = options.clock.nowMs();
    this.#call = options.budget.reserve(CALL_BYTES);
    this.#decoder = new FrameDecoder({
      maxMessageBytes: options.maxMessageBytes,
      maxMessagesPerFrame: options.isStream ? Number.POSITIVE_INFINITY : 2,
      onHold: (bytes) => this.#hold(bytes),
      onComplete: () => this.#finishMessage(),
    });
    inside.decoder = { write: (data) => this.#write(data) };
    inside.decompressMessage = (message, encoding) => this.#contents(message.subarray(5), encoding);
    if (options.isStream) this.#countUnread();
  }

  get lastProgressAtMs(): number {
    return this.#lastByteAtMs;
  }

  /** A stream may be silent between two requests. */
  get isWaiting(): boolean {
    return this.#options.isStream ? this.#decoder.isPartial : !this.#inside.receivedHalfClose;
  }

  end(): void {
    this.#hasEnded = true;
    this.#call.release();
    this.#incoming?.release();
    for (const reservation of this.#complete) reservation.release();
    this.#waiting?.release();
    for (const { reservation } of this.#untaken.splice(0)) reservation.release();
  }

  #write(data: Buffer): Buffer[] {
    this.#lastByteAtMs = this.#options.clock.nowMs();
    if (this.#unread > 0) this.#setUnread(this.#unread - data.length);
    return this.#decoder.write(data);
  }

  #hold(bytes: number): void {
    this.#incoming ??= this.#options.budget.reserve(0);
    this.#incoming.resize(MESSAGE_BYTES + bytes);
  }

  #finishMessage(): void {
    if (this.#incoming) this.#complete.push(this.#incoming);
    this.#incoming = undefined;
  }

  /** The contents of the next complete message, as the method's deserializer takes them. */
  #contents(contents: Buffer, encoding: string): unknown {
    const reservation = this.#complete.shift() as Reservation;
    if (encoding === 'identity') return this.#received(contents, reservation);
    if (!isCompressionEncoding(encoding)) {
      reservation.release();
      return Promise.reject(createUnknownEncodingStatus(encoding));
    }
    const { maxMessageBytes, budget } = this.#options;
    return inflateWithinBudget(contents, encoding, maxMessageBytes, budget)
      .finally(() => reservation.release())
      .then(
        ({ inflated, reservation: held }) => this.#received(inflated, held),
        (error) => {
          if (!(error instanceof AnyserveError)) throw toInflationStatus(error, maxMessageBytes);
          throw { code: status.RESOURCE_EXHAUSTED, details: error.message };
        },
      );
  }

  #received(contents: Buffer, reservation: Reservation): Buffer | ReceivedMessage {
    if (!this.#options.hasTensors || this.#hasEnded) {
      reservation.release();
      return contents;
    }
    // They are taken in order, so the search ends at once.
    const take = (): void => void this.#untaken.splice(this.#untaken.indexOf(message), 1);
    const message: ReceivedMessage = new ReceivedMessage(contents, reservation, take);
    this.#untaken.push(message);
    return message;
  }

  /** Counts what arrives: the library does not look at it before it is ready for the next request. */
  #countUnread(): void {
    const { stream } = this.#inside;
    const push = stream.push.bind(stream);
    stream.push = (chunk: Buffer | null, encoding?: BufferEncoding) => {
      if (chunk === null) return push(chunk, encoding);
      try {
        this.#setUnread(this.#unread + chunk.length);
      } catch (error) {
        const details = getErrorMessage(error);
        setImmediate(() => this.#inside.sendStatus({ code: status.RESOURCE_EXHAUSTED, details }));
        return true;
      }
      return push(chunk, encoding);
    };
  }

  #setUnread(bytes: number): void {
    if (this.#hasEnded) return;
    this.#waiting ??= this.#options.budget.reserve(0);
    this.#waiting.resize(Math.max(0, bytes));
    this.#unread = Math.max(0, bytes);
  }
}
