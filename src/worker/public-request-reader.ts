import type { Clock } from '../core/ports.js';
import { FrameDecoder } from './frame-decoder.js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';
import {
  createUnknownEncodingStatus,
  inflateSmallMessage,
  isCompressionEncoding,
  toInflationStatus,
} from './inflate.js';
import type { RequestReader } from './request-watchdog.js';

/** Maximum size of a request of a method that requires no token, compressed and inflated. */
const MAX_PUBLIC_REQUEST_BYTES = 4096;

/** Maximum number of requests on a stream that have no response yet. */
const MAX_PENDING_REQUESTS = 64;

/** Reads the requests of a public method within small fixed limits, which don't depend on the memory budget. */
export class PublicRequestReader implements RequestReader {
  readonly #call: GrpcJsCall;
  readonly #clock: Clock;
  readonly #isStream: boolean;
  readonly #decoder: FrameDecoder;
  #pendingRequests = 0;
  /** Start of the call, or the time of its last complete request. */
  #lastProgressAtMs: number;

  constructor(call: GrpcJsCall, isStream: boolean, clock: Clock) {
    this.#call = call;
    this.#clock = clock;
    this.#isStream = isStream;
    this.#lastProgressAtMs = clock.nowMs();
    this.#decoder = new FrameDecoder({
      maxMessageBytes: MAX_PUBLIC_REQUEST_BYTES,
      maxMessagesPerFrame: isStream ? MAX_PENDING_REQUESTS : 2,
      onAllocate: () => {},
      onComplete: () => {},
    });
    call.decoder = { write: (data) => this.#write(data) };
    call.decompressMessage = (message, encoding) => inflateContents(message.subarray(5), encoding);
    if (isStream) this.#countResponses();
  }

  get lastProgressAtMs(): number {
    return this.#lastProgressAtMs;
  }

  get isWaiting(): boolean {
    return !this.#call.receivedHalfClose;
  }

  end(): void {}

  #write(data: Buffer): Buffer[] {
    const messages = this.#decoder.write(data);
    // Single bytes don't count as progress: a complete request must arrive in time.
    if (messages.length > 0) this.#lastProgressAtMs = this.#clock.nowMs();
    this.#pendingRequests += messages.length;
    // Responses are many times larger than requests and are buffered for callers that don't read them.
    if (this.#isStream && this.#pendingRequests > MAX_PENDING_REQUESTS) throw new Error('too many pending requests');
    return messages;
  }

  #countResponses(): void {
    const sendMessage = this.#call.sendMessage.bind(this.#call);
    this.#call.sendMessage = (message, onSent) =>
      sendMessage(message, () => {
        this.#pendingRequests--;
        onSent();
      });
  }
}

function inflateContents(contents: Buffer, encoding: string): Buffer | Promise<never> {
  if (encoding === 'identity') return contents;
  if (!isCompressionEncoding(encoding)) return Promise.reject(createUnknownEncodingStatus(encoding));
  try {
    return inflateSmallMessage(contents, encoding, MAX_PUBLIC_REQUEST_BYTES);
  } catch (error) {
    return Promise.reject(toInflationStatus(error, MAX_PUBLIC_REQUEST_BYTES));
  }
}
