import type { CapabilityQuery } from '../core/capability.js';
import { describeTimeout } from '../core/durations.js';
import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Random } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { Attempt, type AttemptContext } from './attempt.js';
import type { ActiveCalls, CallCancellation } from './cancellation.js';
import type { FailedAttempt, InferOptions } from './client-options.js';
import { ConnectTimeoutError } from './connect-channel.js';
import { createNoMatchError, type DiscoveryResult, describeQuery, type Target, WARMING_RETRY_MS } from './discovery.js';

/** Options of a `RetryingCaller`. */
export interface RetryingCallerOptions extends AttemptContext {
  readonly query: CapabilityQuery;
  /** Timeout for every call, in ms; undefined for the default of each kind of call. */
  readonly timeoutMs: number | undefined;
  /** Whether a call without a match waits for replicas to reconnect to an API server that has just started. */
  readonly waitWhileWarming: boolean;
  /** The calls in progress, which end when the client is closed. */
  readonly activeCalls: ActiveCalls;
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  readonly random: Random;
}

/**
 * Maximum number of attempts of a call. It is low enough that the ids of all failed replicas fit into the headers of a route
 * request.
 */
const MAX_ATTEMPTS = 5;
const BASE_RETRY_DELAY_MS = 100;
const DISCOVERY_TIMEOUT_MS = 3000;

/** Maximum delay of a timer, about 24 days. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Errors after which a retry on the same replica can succeed. After any other error, only other replicas are tried. */
const TRANSIENT_CODES: ReadonlySet<ErrorCode> = new Set(['unavailable', 'resource_exhausted', 'aborted', 'cancelled']);

/**
 * Returns whether a retry on the same replica can succeed soon. After a connect timeout, a retry would probably time out
 * too.
 */
function isTransient(error: AnyserveError): boolean {
  return TRANSIENT_CODES.has(error.code) && !(error instanceof ConnectTimeoutError);
}

/** The attempts of one call: chooses the target of each, and decides whether another follows. */
export class CallAttempts {
  readonly #context: RetryingCallerOptions;
  readonly #retryOnFailure: boolean;
  readonly #cancellation: CallCancellation;
  readonly #timeoutMs: number;
  readonly #deadlineAtMs: number;
  readonly #failed: Target[] = [];
  readonly #excluded: ReplicaId[] = [];
  /** Failed attempt to pass to `onRetry` when the next target is known. */
  #unreportedFailure: Omit<FailedAttempt, 'next'> | undefined;
  /** Number of lookups of a target, whether one was found or not. Those that wait for a warming server don't count. */
  #rounds = 0;
  #lastError: AnyserveError | undefined;

  /** `defaultTimeoutMs` applies if neither the call nor the client sets a timeout. Throws when the client is closed. */
  constructor(
    context: RetryingCallerOptions,
    { timeoutMs, signal, retryOnFailure = true }: InferOptions,
    defaultTimeoutMs: number,
  ) {
    this.#context = context;
    this.#retryOnFailure = retryOnFailure;
    this.#cancellation = context.activeCalls.begin(signal);
    this.#timeoutMs = Math.min(timeoutMs ?? context.timeoutMs ?? defaultTimeoutMs, MAX_TIMEOUT_MS);
    this.#deadlineAtMs = context.clock.nowMs() + this.#timeoutMs;
  }

  /** Finds the target of the next attempt. Returns no promise if the target is known already. */
  next(): Target | Promise<Target> {
    this.#cancellation.throwIfCancelled();
    if (this.#lastError) return this.#findAfter(this.#lastError);
    this.#rounds++;
    const found = this.#discover();
    if (!(found instanceof Promise) && found.kind === 'found') return found.target;
    return this.#findFirst(found);
  }

  /** Finds the first target. Keeps asking an API server that is warming up until the deadline is near. */
  async #findFirst(firstResult: DiscoveryResult | Promise<DiscoveryResult>): Promise<Target> {
    const { clock, random, waitWhileWarming, query } = this.#context;
    for (let found = await firstResult; ; found = await this.#discover()) {
      if (found.kind === 'found') return found.target;
      const delayMs = WARMING_RETRY_MS * (0.5 + random.fraction());
      if (!waitWhileWarming || !found.isWarming || this.#requireRemainingMs() <= delayMs)
        throw createNoMatchError(query);
      await sleep(clock, delayMs, this.#cancellation.signal);
      this.#cancellation.throwIfCancelled();
    }
  }

  /** Finds a target that hasn't failed yet. If there is none, waits and takes any target. */
  async #findAfter(error: AnyserveError): Promise<Target> {
    for (;;) {
      this.#cancellation.throwIfCancelled();
      this.#rounds++;
      let target = await this.#findOther(error);
      const endpoint = target?.endpoint;
      const isNew = endpoint !== undefined && !this.#failed.some((failed) => failed.endpoint === endpoint);
      if (!isNew) {
        if (!isTransient(error) || this.#rounds > MAX_ATTEMPTS) throw this.#createNoOtherReplicaError(error);
        await this.#waitBeforeRetry();
        // Another replica can have registered meanwhile.
        target = await this.#findOther(error);
      }
      if (!target) continue;
      if (this.#unreportedFailure) this.#context.onRetry?.({ ...this.#unreportedFailure, next: target });
      this.#unreportedFailure = undefined;
      return target;
    }
  }

  /** Begins an attempt at a target. Throws `failed_precondition` for a target whose endpoint isn't valid. */
  begin(target: Target): Attempt {
    const deadlineEpochMs = this.#context.clock.epochMs() + this.#requireRemainingMs();
    return new Attempt(this.#context, target, this.#failed.length + 1, this.#cancellation, {
      deadlineEpochMs,
      timeoutMs: this.#timeoutMs,
    });
  }

  /** Ends the call. */
  end(): void {
    this.#cancellation.end();
  }

  /** Lets another attempt follow a failed one. Throws its error if none can. */
  continueAfter(target: Target, error: unknown): void {
    const { discovery } = this.#context;
    if (!(error instanceof AnyserveError) || this.#cancellation.isCancelled) throw error;
    const isLast = error.isFinal || error.code === 'deadline_exceeded' || this.#rounds >= MAX_ATTEMPTS;
    if (!this.#retryOnFailure || isLast || !discovery.hasOthers) throw error;
    this.#failed.push(target);
    if (target.replicaId !== undefined) this.#excluded.push(target.replicaId);
    this.#lastError = error;
    this.#unreportedFailure = { attempt: this.#failed.length, ...target, error };
  }

  async #findOther(error: AnyserveError): Promise<Target | undefined> {
    try {
      const found = await this.#discover();
      return found.kind === 'found' ? found.target : undefined;
    } catch (cause) {
      if (this.#cancellation.isCancelled || cause === error) throw cause;
      const message = `${error.message}; cannot look for another replica: ${getErrorMessage(cause)}`;
      throw new AnyserveError(error.code, message, { cause: error });
    }
  }

  #discover(): DiscoveryResult | Promise<DiscoveryResult> {
    const timeoutMs = Math.min(this.#requireRemainingMs(), DISCOVERY_TIMEOUT_MS);
    return this.#context.discovery.find(this.#excluded, timeoutMs, this.#cancellation);
  }

  async #waitBeforeRetry(): Promise<void> {
    const { clock, random } = this.#context;
    const delayMs = random.fraction() * BASE_RETRY_DELAY_MS * 2 ** this.#rounds;
    await sleep(clock, Math.min(delayMs, this.#requireRemainingMs()), this.#cancellation.signal);
    this.#cancellation.throwIfCancelled();
  }

  /** Returns the time until the deadline. After it, throws the error of the last attempt, or `deadline_exceeded`. */
  #requireRemainingMs(): number {
    const remainingMs = this.#deadlineAtMs - this.#context.clock.nowMs();
    if (remainingMs > 0) return remainingMs;
    throw this.#lastError ?? new AnyserveError('deadline_exceeded', describeTimeout(this.#timeoutMs));
  }

  #createNoOtherReplicaError(error: AnyserveError): AnyserveError {
    const message = `${error.message}; no other replica offers ${describeQuery(this.#context.query)}`;
    return new AnyserveError(error.code, message, { cause: error });
  }
}
