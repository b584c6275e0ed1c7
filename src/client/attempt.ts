import type { Metadata } from '@grpc/grpc-js';
import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import type { CallEvent, Clock } from '../core/ports.js';
import { quote } from '../core/quoting.js';
import { readLoad } from './balancing/known-load.js';
import type { CallCancellation, Cancellation } from './cancellation.js';
import type { ChannelPool } from './channel-pool.js';
import { BrokenConnectionError, NotStartedError } from './connection-errors.js';
import type { AttemptOutcome, AttemptRecord, Discovery, Target } from './discovery.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import type { QuietCallWatch, WatchedCall } from './quiet-calls.js';

/** Timeout for a replica's response on a new connection, in ms. A replica that takes longer counts as dead. */
const NEW_CONNECTION_TIMEOUT_MS = 2000;

/** The parts of a client that its attempts use. */
export interface AttemptContext {
  readonly discovery: Discovery;
  readonly channels: ChannelPool;
  /** Watches the calls in progress. */
  readonly quietCalls: QuietCallWatch;
  /** Receives the events of attempts. */
  readonly onAttempt?: ((event: CallEvent) => void) | undefined;
  readonly clock: Clock;
}

/** One attempt of a call at one target, with its own channel and cancellation, so that attempts can run side by side. */
export class Attempt implements WatchedCall {
  readonly target: Target;
  readonly channel: InferenceChannel;
  readonly options: CallOptions;
  /** Number of the attempt within its call, from 1. */
  readonly #number: number;
  lastMessageAtMs: number;
  readonly #startedAtMs: number;
  #hasMessage = false;
  #hasEnded = false;
  readonly #context: AttemptContext;
  readonly #call: CallCancellation;
  readonly #cancellation: Cancellation;
  readonly #record: AttemptRecord;

  /** Begins the attempt. Throws `failed_precondition` for a target whose endpoint isn't valid. */
  constructor(
    context: AttemptContext,
    target: Target,
    number: number,
    call: CallCancellation,
    time: Omit<CallOptions, 'cancellation' | 'onTrailers'>,
  ) {
    this.#context = context;
    this.#call = call;
    this.target = target;
    this.#number = number;
    this.#record = context.discovery.beginAttempt(target);
    this.channel = this.#openChannel();
    this.#cancellation = call.beginAttempt();
    this.options = { ...time, cancellation: this.#cancellation, onTrailers: (trailers) => this.#recordLoad(trailers) };
    this.#startedAtMs = context.clock.nowMs();
    this.lastMessageAtMs = this.#startedAtMs;
    context.quietCalls.add(this);
    this.#emit({ kind: 'attempt_started', target, attempt: number });
  }

  /** Returns whether the replica doesn't respond on a new connection either. */
  isUnresponsive(): Promise<boolean> {
    return this.channel.isUnresponsive(NEW_CONNECTION_TIMEOUT_MS);
  }

  /** Ends this attempt with an error. Other attempts of the call go on, and another can follow. */
  fail(error: AnyserveError): void {
    this.#cancellation.cancel(error);
  }

  /** Records a message of a stream. */
  recordMessage(): void {
    this.lastMessageAtMs = this.#context.clock.nowMs();
    this.#record.recordMessage(this.#hasMessage ? undefined : this.lastMessageAtMs - this.#startedAtMs);
    this.#hasMessage = true;
  }

  /** Ends the attempt with success. */
  succeed(): void {
    if (this.#hasEnded) return;
    if (!this.#hasMessage) this.recordMessage();
    this.#end('ok', { kind: 'success' });
  }

  /** Ends the attempt with a failure. A channel without a connection is not used again. */
  recordFailure(error: unknown): void {
    const isAbandoned = !(error instanceof AnyserveError) || this.#call.isCancelled;
    const isUnusable = error instanceof NotStartedError || error instanceof BrokenConnectionError;
    if (!isAbandoned && isUnusable) this.#context.channels.drop(this.channel);
    const code = error instanceof AnyserveError ? error.code : 'cancelled';
    this.#end(code, isAbandoned ? { kind: 'abandoned' } : { kind: 'failure', error });
  }

  /** Takes back an internal error: another replica failed the same call. */
  forgive(): void {
    this.#record.forgive();
  }

  /** Ends the attempt if it is still in progress, because its caller has left the stream. */
  abandon(): void {
    this.#end('cancelled', { kind: 'abandoned' });
  }

  /** Ends the attempt because another one has won. */
  cancel(): void {
    this.abandon();
    this.#cancellation.cancel(new AnyserveError('cancelled', 'another attempt was faster'));
  }

  #recordLoad(trailers: Metadata): void {
    const load = readLoad(trailers);
    if (load) this.#record.recordLoad(load);
  }

  #end(code: 'ok' | ErrorCode, outcome: AttemptOutcome): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#context.quietCalls.delete(this);
    this.#call.endAttempt(this.#cancellation);
    this.channel.release();
    this.#record.end(outcome);
    if (!this.#context.onAttempt) return;
    const durationMs = this.#context.clock.nowMs() - this.#startedAtMs;
    this.#emit({ kind: 'attempt_ended', target: this.target, attempt: this.#number, code, durationMs });
  }

  #emit(event: CallEvent): void {
    notify(this.#context.onAttempt, event);
  }

  #openChannel(): InferenceChannel {
    const { target } = this;
    try {
      const channel = this.#context.channels.get(target.endpoint);
      channel.acquire();
      return channel;
    } catch (cause) {
      const message = `replica ${quote(target.replicaId ?? target.endpoint)}: ${getErrorMessage(cause)}`;
      const error = new NotStartedError('failed_precondition', message, { cause });
      this.#record.end({ kind: 'failure', error });
      throw error;
    }
  }
}

/** Calls a listener. An error of it does not become the call's; it is reported as an uncaught exception. */
export function notify<Event>(listener: ((event: Event) => void) | undefined, event: Event): void {
  try {
    listener?.(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
