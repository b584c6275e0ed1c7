import { AnyserveError } from '../../core/errors.js';
import type { OpenHttpCall } from '../http-calls/http-caller.js';
import type { BodySink } from '../http-calls/incoming-response.js';

/** Maximum number of bytes that wait for the reader of a body. While more wait, nothing is read from the replica. */
const MAX_WAITING_BYTES = 64 * 1024;

/** The methods of a `ReadableByteStreamController` that are used here. */
interface StreamController {
  readonly desiredSize: number | null;
  readonly byobRequest: { respond(bytes: number): void } | null;
  enqueue(bytes: Uint8Array): void;
  close(): void;
  error(reason: unknown): void;
}

/**
 * Creates the body of a response that is arriving. A body that breaks off ends with an error, so that it never looks complete.
 * Ends the call with the body.
 */
export function createBodyStream(opened: OpenHttpCall): ReadableStream<Uint8Array> {
  let sink: StreamSink;
  return new ReadableStream(
    {
      type: 'bytes',
      start(controller: StreamController) {
        sink = new StreamSink(opened, controller);
        opened.response.pipe(sink);
        opened.response.resume();
      },
      pull: () => sink.resume(),
      cancel: () => sink.cancel(),
    },
    { highWaterMark: MAX_WAITING_BYTES },
  );
}

/** Passes a body on to the stream that its reader has. */
class StreamSink implements BodySink {
  readonly #opened: OpenHttpCall;
  readonly #controller: StreamController;
  #isPaused = false;
  #isDone = false;

  constructor(opened: OpenHttpCall, controller: StreamController) {
    this.#opened = opened;
    this.#controller = controller;
  }

  onBody(bytes: Buffer): void {
    if (this.#isDone) return;
    // A copy, because the stream detaches the memory of what it gets, and several pieces can share theirs.
    this.#controller.enqueue(new Uint8Array(bytes));
    if ((this.#controller.desiredSize ?? 0) > 0) return;
    this.#isPaused = true;
    this.#opened.response.pause();
  }

  onEnd(): void {
    if (this.#isDone) return;
    this.#end(() => this.#opened.attempt.succeed());
    this.#controller.close();
    this.#controller.byobRequest?.respond(0);
  }

  onFailure(error: unknown): void {
    if (this.#isDone) return;
    this.#end(() => this.#opened.attempt.recordFailure(error));
    this.#controller.error(error);
  }

  /** Reads on, because the reader wants more. */
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    // The replica was not silent while the reader wanted nothing.
    this.#opened.attempt.recordMessage();
    this.#opened.response.resume();
  }

  /** Ends the response, because its reader has left. */
  cancel(): void {
    if (this.#isDone) return;
    this.#end(() => this.#opened.attempt.abandon());
    this.#opened.response.fail(new AnyserveError('cancelled', 'the reader of the response has left'));
  }

  #end(record: () => void): void {
    this.#isDone = true;
    record();
    this.#opened.end();
  }
}
