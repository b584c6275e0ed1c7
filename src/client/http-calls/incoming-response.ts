import type { AnyserveError } from '../../core/errors.js';
import type { EngineCall, EngineFailure, EngineHandler } from '../../http/engine-client/engine-call.js';
import type { EngineResponseHead } from '../../http/engine-client/response-head.js';
import { getHeader, toConnectionFailure } from './http-failure.js';

/** Receives the rest of a response: pieces of the body, then its end or a failure. */
export interface BodySink {
  /** The bytes are valid until it returns. */
  onBody(bytes: Buffer): void;
  onEnd(): void;
  onFailure(error: unknown): void;
}

/** Receives what happens to a response until it is accepted. */
export interface ResponseListener {
  /** Called with each piece of the body, before anything else. */
  onBytes(): void;
  /** Called when enough of the response has arrived to tell whether it is one. */
  onAccept(): void;
  /** Called instead if the response fails before that. */
  onFailure(error: AnyserveError): void;
  /** Called with the response's end, after which no timer is needed. */
  onDone(): void;
}

/**
 * Maximum size of a JSON response that is accepted only when it is complete. An engine sends it at once, so waiting for its end
 * costs no time, and a response that breaks off can be retried at another replica.
 */
const MAX_WHOLE_BYTES = 256 * 1024;

/** Maximum size of an error response, in bytes. It is kept until another replica has responded. */
const MAX_ERROR_BYTES = 1024 * 1024;

/**
 * A response that is arriving. It is accepted when its body has begun, or for JSON and errors when it is complete. Until then,
 * another replica can be tried. Keeps what arrives until a sink takes it.
 */
export class IncomingResponse implements EngineHandler {
  head: EngineResponseHead = { status: 0, reason: '', headers: [] };
  isComplete = false;
  /** Whether nothing is read from the engine, because the caller doesn't read either. */
  isPaused = false;
  readonly #listener: ResponseListener;
  #call: EngineCall | undefined;
  #pieces: Buffer[] = [];
  #bytes = 0;
  /** Number of bytes with which the response is accepted before its end. */
  #acceptAtBytes = 1;
  #isAccepted = false;
  #failure: { readonly error: unknown } | undefined;
  #sink: BodySink | undefined;

  constructor(listener: ResponseListener) {
    this.#listener = listener;
  }

  /** The pieces of the body that have arrived, while no sink takes them. */
  get pieces(): readonly Buffer[] {
    return this.#pieces;
  }

  /** Sets the call that can be paused and cancelled. */
  attach(call: EngineCall): void {
    this.#call = call;
  }

  /** Delivers the body to a sink: what has arrived at once, and then the rest. */
  pipe(sink: BodySink): void {
    const pieces = this.#pieces;
    this.#pieces = [];
    this.#sink = sink;
    for (const piece of pieces) sink.onBody(piece);
    if (this.#failure) sink.onFailure(this.#failure.error);
    else if (this.isComplete) sink.onEnd();
  }

  /** Stops reading the body from the engine. */
  pause(): void {
    this.isPaused = true;
    this.#call?.pause();
  }

  resume(): void {
    this.isPaused = false;
    this.#call?.resume();
  }

  /** Ends the response with an error, and closes its connection. */
  fail(error: unknown): void {
    if (this.isComplete || this.#failure) return;
    this.#failure = { error };
    this.#call?.cancel();
    this.#listener.onDone();
    if (this.#sink) this.#sink.onFailure(error);
    else if (!this.#isAccepted) this.#listener.onFailure(error as AnyserveError);
  }

  onHead(head: EngineResponseHead): void {
    this.head = head;
    if (head.status >= 400) this.#acceptAtBytes = MAX_ERROR_BYTES;
    else if (isJson(getHeader(head.headers, 'content-type'))) this.#acceptAtBytes = MAX_WHOLE_BYTES;
  }

  onBody(bytes: Buffer): void {
    this.#listener.onBytes();
    if (this.#sink) {
      this.#sink.onBody(bytes);
      return;
    }
    this.#pieces.push(Buffer.from(bytes));
    this.#bytes += bytes.length;
    if (this.#bytes >= this.#acceptAtBytes) this.#accept();
  }

  onEnd(): void {
    this.isComplete = true;
    this.#listener.onDone();
    if (this.#sink) this.#sink.onEnd();
    else this.#accept();
  }

  onFailure(failure: EngineFailure): void {
    this.fail(toConnectionFailure(failure));
  }

  #accept(): void {
    if (this.#isAccepted) return;
    this.#isAccepted = true;
    // The sink comes in a moment. Meanwhile, a fast engine must not fill the memory.
    if (!this.isComplete) this.pause();
    this.#listener.onAccept();
  }
}

function isJson(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/(?:[\w.+-]+\+)?json\b/i.test(contentType);
}
