import type { SerializedRequest } from './engine-request.js';
import type { EngineResponseHead } from './response-head.js';

/**
 * Why a call has failed:
 * - `connect_failed`, `connect_timeout`: nothing was sent.
 * - `no_response`: the connection broke before the first byte of a response. The engine can have handled the request.
 * - `truncated`: the connection broke within the response.
 * - `bad_response`: the response is not valid HTTP/1.1.
 */
export type EngineFailureKind = 'connect_failed' | 'connect_timeout' | 'no_response' | 'truncated' | 'bad_response';

/** A failed call. The message is one line that begins with the origin. */
export interface EngineFailure {
  readonly kind: EngineFailureKind;
  readonly message: string;
  readonly cause?: unknown;
}

/**
 * Receives the response to a call: a head, pieces of the body, and the end. Or, at any point, a failure instead. No method is called
 * within `send`, and none after `cancel`.
 */
export interface EngineHandler {
  onHead(head: EngineResponseHead): void;
  /** Receives the next bytes of the body. They are valid until it returns. */
  onBody(bytes: Buffer): void;
  onEnd(): void;
  onFailure(failure: EngineFailure): void;
}

/** A call in progress. */
export interface EngineCall {
  /** Ends the call and closes its connection. Has no effect after the end of the call. */
  cancel(): void;
  /** Stops reading from the connection. `onEnd`, or a failure, can still follow the bytes that were read before. */
  pause(): void;
  /** Reads from the connection again. */
  resume(): void;
}

/** The connection or the queue that a call is in. */
export interface ExchangeHolder {
  abandon(exchange: Exchange): void;
  setPaused?(isPaused: boolean): void;
}

/** A request with its handler, on its way to an end. */
export class Exchange implements EngineCall {
  readonly method: string;
  message: SerializedRequest;
  readonly handler: EngineHandler;
  /** Undefined after the end of the call. */
  holder: ExchangeHolder | undefined;
  isPaused = false;
  /** Whether the request was already sent over another connection. */
  isRetry = false;

  constructor(method: string, message: SerializedRequest, handler: EngineHandler) {
    this.method = method;
    this.message = message;
    this.handler = handler;
  }

  get isDone(): boolean {
    return this.holder === undefined;
  }

  cancel(): void {
    const holder = this.holder;
    this.holder = undefined;
    holder?.abandon(this);
  }

  pause(): void {
    this.isPaused = true;
    this.holder?.setPaused?.(true);
  }

  resume(): void {
    this.isPaused = false;
    this.holder?.setPaused?.(false);
  }

  /** Ends the call with a failure. */
  fail(failure: EngineFailure): void {
    this.holder = undefined;
    this.handler.onFailure(failure);
  }
}
