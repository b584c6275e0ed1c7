import { status } from '@grpc/grpc-js';
import type { Clock } from '../core/ports.js';
import { FrameDecoder } from './frame-decoder.js';
import type { GrpcJsCall } from './grpc-js-workarounds.js';
import { InflateLimitError, inflateSmallMessage, isCompressionEncoding } from './inflate.js';
import type { RequestReader } from './request-watchdog.js';

/** Maximum size of a request of a method that needs no token, inflated and not. */
const MAX_BYTES = 4096;

/** Maximum number of requests of a stream that have no answer yet. */
const MAX_UNANSWERED = 64;

/** Reads the requests of a method that needs no token, within limits that no caller can stretch. */
export class PublicRequestReader implements RequestReader {
  readonly #inside: GrpcJsCall;
  readonly #clock: Clock;
  readonly #isStream: boolean;
  readonly #decoder: FrameDecoder;
  #unanswered = 0;
  /** When the call began, or its last request was complete. */
  #requestedAtMs: number;

  constructor(inside: GrpcJsCall, isStream: boolean, clock: Clock) {
    this.#inside = inside;
    this.#clock = clock;
    this.#isStream = isStream;
    this.#requestedAtMs = clock.nowMs();
    this.#decoder = new FrameDecoder({
      maxMessageBytes: MAX_BYTES,
      maxMessagesPerFrame: isStream ? MAX_UNANSWERED : 2,
      onHold: () => {},
      onComplete: () => {},
    });
    inside.decoder = { write: (data) => this.#write(data) };
    inside.decompressMessage = (message, encoding) => inflated(message.subarray(5), encoding);
    if (isStream) this.#countAnswers();
  }

  get lastProgressAtMs(): number {
    return this.#requestedAtMs;
  }

  get isWaiting(): boolean {
    return !this.#inside.receivedHalfClose;
  }

  end(): void {}

  #write(data: Buffer): Buffer[] {
    const messages = this.#decoder.write(data);
    // A byte now and then does not count: the whole request has to arrive in time.
    if (messages.length > 0) this.#requestedAtMs = this.#clock.nowMs();
    this.#unanswered += messages.length;
    // Answers are many times as large as requests, and wait for whoever does not read them.
    if (this.#isStream && this.#unanswered > MAX_UNANSWERED) throw new Error('too many requests without an answer');
    return messages;
  }

  #countAnswers(): void {
    const sendMessage = this.#inside.sendMessage.bind(this.#inside);
    this.#inside.sendMessage = (message, onSent) =>
      sendMessage(message, () => {
        this.#unanswered--;
        onSent();
      });
  }
}

function inflated(contents: Buffer, encoding: string): Buffer | Promise<never> {
  if (encoding === 'identity') return contents;
  if (!isCompressionEncoding(encoding)) return Promise.reject(createUnknownEncodingStatus(encoding));
  try {
    return inflateSmallMessage(contents, encoding, MAX_BYTES);
  } catch (error) {
    return Promise.reject(toInflationStatus(error, MAX_BYTES));
  }
}

/** The status of a message in an encoding that is not understood. */
export function createUnknownEncodingStatus(encoding: string) {
  const details = `Received message compressed with unsupported encoding ${JSON.stringify(encoding).slice(0, 100)}; gzip and deflate are supported`;
  return { code: status.UNIMPLEMENTED, details };
}

/** The status of a message that cannot be inflated. */
export function toInflationStatus(error: unknown, maxBytes: number) {
  if (!(error instanceof InflateLimitError)) return { code: status.INTERNAL, details: 'Failed to decompress message' };
  const details = `Received message that decompresses to a size larger than ${maxBytes}`;
  return { code: status.RESOURCE_EXHAUSTED, details };
}
