import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { AttemptTrace, CallEvent, Clock, Tracer } from '../core/ports.js';
import { quote } from '../core/quoting.js';
import type { CallCancellation, Cancellation } from './cancellation.js';
import { BrokenConnectionError, NotStartedError } from './connection-errors.js';
import type { AttemptOutcome, AttemptRecord, Discovery, Target } from './discovery.js';
import type { QuietCallWatch, WatchedCall } from './quiet-calls.js';

/** Timeout for a replica's response on a new connection, in ms. A replica that takes longer counts as dead. */
const NEW_CONNECTION_TIMEOUT_MS = 2000;

/** A way to reach a target: a gRPC channel, or the connections to an HTTP server. */
export interface CallChannel {
  /** Returns whether the target doesn't respond on a new connection either, within the timeout. */
  isUnresponsive(timeoutMs: number): Promise<boolean>;
  /** Adds a use. A channel stays open until each use is released. */
  acquire(): void;
  release(): void;
}

/** The channels of a client. */
export interface CallChannels<Channel extends CallChannel> {
  /** Returns the channel to an endpoint. Throws `usage` for an endpoint that isn't valid. */
  get(endpoint: string): Channel;
  /** Removes a channel that failed, so that the next call to its endpoint opens a new one. */
  drop(channel: Channel): void;
}

/** Options of an attempt, for the code that makes the request. */
export interface AttemptOptions {
  /** Deadline of the call, in ms since 1970. */
  readonly deadlineEpochMs: number;
  /** Timeout of the call with all its attempts, in ms, for the message when the deadline passes. */
  readonly timeoutMs: number;
  /** Cancels the attempt. */
  readonly cancellation: Cancellation;
  /** Headers to send with the request, of a tracer. */
  readonly headers: Readonly<Record<string, string>> | undefined;
  /** Called with the load that a response reports. */
  readonly onLoad: (load: ReplicaLoad) => void;
}

/** The parts of a client that its attempts use. */
export interface AttemptContext<Channel extends CallChannel> {
  readonly discovery: Discovery;
  readonly channels: CallChannels<Channel>;
  /** Watches the calls in progress. */
  readonly quietCalls: QuietCallWatch;
  /** Receives the events of attempts. */
  readonly onAttempt?: ((event: CallEvent) => void) | undefined;
  readonly tracer?: Tracer | undefined;
  readonly clock: Clock;
}

const SUCCESS: AttemptOutcome = { kind: 'success' };

/** One attempt of a call at one target, with its own channel and cancellation, so that attempts can run side by side. */
export class Attempt<Channel extends CallChannel = CallChannel> implements WatchedCall {
  readonly target: Target;
  readonly channel: Channel;
  /** Cancels this attempt. */
  readonly cancellation: Cancellation;
  /** Deadline of the call, in ms since 1970. */
  readonly deadlineEpochMs: number;
  /** Timeout of the call with all its attempts, in ms. */
  readonly timeoutMs: number;
  /** Number of the attempt within its call, from 1. */
  readonly #number: number;
  position = 0;
  lastMessageAtMs: number;
  readonly #startedAtMs: number;
  #hasMessage = false;
  #hasEnded = false;
  readonly #context: AttemptContext<Channel>;
  readonly #call: CallCancellation;
  readonly #record: AttemptRecord;
  readonly #trace: AttemptTrace | undefined;

  /** Begins the attempt. Throws `failed_precondition` for a target whose endpoint isn't valid. */
  constructor(
    context: AttemptContext<Channel>,
    target: Target,
    number: number,
    call: CallCancellation,
    deadlineEpochMs: number,
    timeoutMs: number,
  ) {
    this.#context = context;
    this.#call = call;
    this.target = target;
    this.#number = number;
    this.#record = context.discovery.beginAttempt(target);
    this.channel = this.#openChannel();
    this.cancellation = call.beginAttempt();
    this.deadlineEpochMs = deadlineEpochMs;
    this.timeoutMs = timeoutMs;
    const { tracer } = context;
    this.#trace = tracer && callListener(() => tracer.startAttempt({ target, attempt: number }));
    this.#startedAtMs = context.clock.nowMs();
    this.lastMessageAtMs = this.#startedAtMs;
    context.quietCalls.add(this);
    if (context.onAttempt) this.#emit({ kind: 'attempt_started', target, attempt: number });
  }

  /** Options for the code that makes the request. */
  get options(): AttemptOptions {
    return {
      deadlineEpochMs: this.deadlineEpochMs,
      timeoutMs: this.timeoutMs,
      cancellation: this.cancellation,
      headers: this.tracingHeaders,
      onLoad: (load) => this.#record.recordLoad(load),
    };
  }

  /** Headers to send with the request, of a tracer. */
  get tracingHeaders(): Readonly<Record<string, string>> | undefined {
    return this.#trace?.headers;
  }

  /** Returns whether the replica doesn't respond on a new connection either. */
  isUnresponsive(): Promise<boolean> {
    return this.channel.isUnresponsive(NEW_CONNECTION_TIMEOUT_MS);
  }

  /** Ends this attempt with an error. Other attempts of the call go on, and another can follow. */
  fail(error: AnyserveError): void {
    this.cancellation.cancel(error);
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
    this.#end('ok', SUCCESS);
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
    this.cancellation.cancel(new AnyserveError('cancelled', 'another attempt was faster'));
  }

  #end(code: 'ok' | ErrorCode, outcome: AttemptOutcome): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#context.quietCalls.delete(this);
    this.#call.endAttempt(this.cancellation);
    this.channel.release();
    this.#record.end(outcome);
    if (!this.#context.onAttempt && !this.#trace) return;
    const durationMs = this.#context.clock.nowMs() - this.#startedAtMs;
    if (this.#trace) callListener(() => this.#trace?.end({ code, durationMs }));
    this.#emit({ kind: 'attempt_ended', target: this.target, attempt: this.#number, code, durationMs });
  }

  #emit(event: CallEvent): void {
    callListener(() => this.#context.onAttempt?.(event));
  }

  #openChannel(): Channel {
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
export function callListener<Result>(call: () => Result): Result | undefined {
  try {
    return call();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
    return undefined;
  }
}
