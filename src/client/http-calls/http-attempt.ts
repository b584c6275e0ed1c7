import { formatDuration } from '../../core/durations.js';
import { AnyserveError } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import type { EngineCall } from '../../http/engine-client/engine-call.js';
import type { Attempt, CallChannel } from '../attempt.js';
import { toStatusError } from './http-failure.js';
import { IncomingResponse, type ResponseListener } from './incoming-response.js';

/** Limits of a response. */
export interface ResponseLimits {
  readonly clock: Clock;
  /** Timeout for the first byte of a response, in ms. 0: the timeout of the call. */
  readonly firstByteTimeoutMs: number;
  /** Maximum time between two bytes of a response, in ms. 0: the timeout of the call. */
  readonly idleTimeoutMs: number;
}

/** Receives the response of an attempt, once it is known to be one. */
export interface AttemptResult {
  resolve(response: IncomingResponse): void;
  reject(error: unknown): void;
}

/**
 * One attempt of a call at a replica with an HTTP endpoint: decides whether its response is accepted, and ends a response that goes
 * silent or takes longer than the call has time. While its caller doesn't read, a response can't be silent. There is one timer, which is
 * moved only when it fires, at least once within the shorter limit. It is one object, because a
 * gateway makes tens of thousands of attempts a second, and each function in their place would take memory too.
 */
export class HttpAttempt implements ResponseListener {
  readonly response: IncomingResponse;
  readonly #limits: ResponseLimits;
  readonly #attempt: Attempt<CallChannel>;
  readonly #model: string;
  readonly #result: AttemptResult;
  readonly #startedAtMs: number;
  #cancelTimer: (() => void) | undefined;

  constructor(limits: ResponseLimits, attempt: Attempt<CallChannel>, model: string, result: AttemptResult) {
    this.#limits = limits;
    this.#attempt = attempt;
    this.#model = model;
    this.#result = result;
    this.#startedAtMs = attempt.lastMessageAtMs;
    this.response = new IncomingResponse(this);
  }

  /** Sends the request, unless the attempt was cancelled. */
  start(send: (handler: IncomingResponse) => EngineCall): void {
    const { response } = this;
    const { cancellation } = this.#attempt;
    cancellation.stop = () => response.fail(cancellation.reason);
    cancellation.throwIfCancelled();
    response.attach(send(response));
    this.#watch();
  }

  onBytes(): void {
    this.#attempt.recordMessage();
  }

  onAccept(): void {
    const error = this.#findStatusError();
    if (error) this.#result.reject(error);
    else this.#result.resolve(this.response);
  }

  onFailure(error: AnyserveError): void {
    this.#result.reject(error);
  }

  onDone(): void {
    this.#cancelTimer?.();
  }

  #findStatusError(): AnyserveError | undefined {
    const { head, pieces, isComplete } = this.response;
    if (head.status < 400) return undefined;
    const { target } = this.#attempt;
    const error = toStatusError({ ...head, body: pieces }, target, this.#model, this.#limits.clock.epochMs());
    return error && !isComplete
      ? new AnyserveError('internal', `${target.endpoint}: HTTP ${head.status} with an endless body`)
      : error;
  }

  /** Ends a response that is late, or looks again when it can be. */
  #watch(): void {
    const { clock, firstByteTimeoutMs, idleTimeoutMs } = this.#limits;
    const { deadlineEpochMs, timeoutMs, lastMessageAtMs } = this.#attempt;
    const hasBegun = lastMessageAtMs !== this.#startedAtMs;
    const limitMs = hasBegun ? idleTimeoutMs : firstByteTimeoutMs;
    const untilDeadlineMs = deadlineEpochMs - clock.epochMs();
    const silentSinceMs = this.response.isPaused ? clock.nowMs() : lastMessageAtMs;
    const untilSilentMs = limitMs === 0 ? Number.POSITIVE_INFINITY : silentSinceMs + limitMs - clock.nowMs();
    // The idle limit begins to count with the first byte, which doesn't move the timer.
    const maxWaitMs = idleTimeoutMs || Number.POSITIVE_INFINITY;
    if (untilDeadlineMs <= 0) this.#fail(`no response within ${formatDuration(timeoutMs)}`);
    else if (untilSilentMs > 0)
      this.#cancelTimer = clock.schedule(Math.min(untilDeadlineMs, untilSilentMs, maxWaitMs), () => this.#watch());
    else if (hasBegun) this.#fail(`the response was silent for ${formatDuration(limitMs)}`);
    else this.#fail(`no byte of the response arrived for ${formatDuration(limitMs)}`);
  }

  #fail(message: string): void {
    this.response.fail(new AnyserveError('deadline_exceeded', message));
  }
}
