import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Cancellation } from '../client/cancellation.js';
import { describeFailure } from '../client/http-calls/call-error.js';
import { AnyserveError } from '../core/errors.js';
import type { EndTrace } from '../core/ports.js';
import type { ListElement } from '../core/unordered-list.js';
import type { FinishedCall, TokenUsage } from '../telemetry/finished-call.js';
import type { CallPath } from './call-paths.js';
import type { Caller } from './steering.js';

/** Status of a call whose caller has left, in logs. Source: nginx. */
export const ABORTED_STATUS = 499;

/** A call in progress. */
export class ModelCall implements ListElement {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: CallPath;
  /** The query string with its `?`. */
  readonly search: string;
  readonly caller: Caller;
  model: string | undefined;
  replicaId: string | undefined;
  attempts = 0;
  /** Size of the body that is in memory. */
  bodyBytes = 0;
  /** Ends the trace of the call. */
  endTrace: EndTrace | undefined;
  position = 0;
  /** Whether it waits for a replica. */
  isWaiting = false;
  /** Whether the caller has closed its connection before the end of the response. */
  isAbandoned = false;
  /** The tokens that the response says it used. */
  usage: TokenUsage | undefined;
  readonly #startedAtMs: number;
  #firstByteMs: number | undefined;
  #cancellation: Pick<Cancellation, 'cancel'> | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    path: CallPath,
    search: string,
    caller: Caller,
    startedAtMs: number,
  ) {
    this.request = request;
    this.response = response;
    this.path = path;
    this.search = search;
    this.caller = caller;
    this.#startedAtMs = startedAtMs;
    response.on('close', () => this.#onClose());
  }

  get contentType(): string | undefined {
    return this.request.headers['content-type'];
  }

  /** Sets what is cancelled when the caller closes its connection. */
  cancelWith(cancellation: Pick<Cancellation, 'cancel'>): void {
    this.#cancellation = cancellation;
    if (this.isAbandoned) this.#cancel();
  }

  /** Records that the first byte of a stream of events has arrived. */
  recordFirstByte(nowMs: number): void {
    this.#firstByteMs = nowMs - this.#startedAtMs;
  }

  /** Describes the call at its end. */
  describe(status: number, responseBytes: number, error: unknown, nowMs: number): FinishedCall {
    return {
      caller: this.caller.name,
      path: this.path.path,
      model: this.model,
      replicaId: this.replicaId,
      status: this.isAbandoned ? ABORTED_STATUS : status,
      attempts: this.attempts,
      durationMs: nowMs - this.#startedAtMs,
      firstByteMs: this.#firstByteMs,
      responseBytes,
      usage: this.usage,
      failure: error === undefined || this.isAbandoned ? undefined : describeFailure(error),
    };
  }

  #onClose(): void {
    if (this.response.writableFinished) return;
    this.isAbandoned = true;
    this.#cancel();
  }

  #cancel(): void {
    this.#cancellation?.cancel(new AnyserveError('cancelled', 'the caller has closed the connection'));
  }
}
