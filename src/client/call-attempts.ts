import type { CapabilityQuery } from '../core/capability.js';
import { describeTimeout } from '../core/durations.js';
import { AnyserveError, type ErrorCode, getErrorMessage } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Random } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { Attempt, type AttemptContext } from './attempt.js';
import type { ActiveCalls, CallCancellation } from './cancellation.js';
import type { FailedAttempt } from './client-options.js';
import { createNoMatchError, type DiscoveryResult, describeQuery, type Target } from './discovery.js';

/** What a retrying caller needs. */
export interface RetryingCallerOptions extends AttemptContext {
  readonly query: CapabilityQuery;
  /** How long a call may take in place of what its kind may. */
  readonly timeoutMs: number | undefined;
  /** Whether a call waits for replicas that may be on their way back to an API server that has just started. */
  readonly waitWhileWarming: boolean;
  /** The calls that end when the client is closed. */
  readonly underway: ActiveCalls;
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  readonly random: Random;
}

/** What a call may say of its retries. */
export interface RetryOptions {
  /** How long a call of its kind may take, where neither it nor the client says. */
  readonly defaultTimeoutMs: number;
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryOnFailure?: boolean | undefined;
}

/** So few that the replicas to leave out always fit the request. */
const MAX_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 100;
const DISCOVERY_TIMEOUT_MS = 3000;

/** The longest time that a timer can hold, about 24 days. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Around this long, ±50 %, is the wait before an API server that is warming is asked again. */
export const WARMING_RETRY_MS = 500;

/** Failures that the same replica may get over by itself; any other is tried at other replicas only. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'resource_exhausted', 'aborted', 'cancelled']);

/** The attempts of one call: chooses the target of each, and decides whether another follows. */
export class CallAttempts {
  readonly #caller: RetryingCallerOptions;
  readonly #retryOnFailure: boolean;
  readonly #cancellation: CallCancellation;
  readonly #timeoutMs: number;
  readonly #deadlineAtMs: number;
  readonly #failed: Target[] = [];
  readonly #excluded: ReplicaId[] = [];
  /** The failure that is told once it is known where the next try goes. */
  #untold: Omit<FailedAttempt, 'next'> | undefined;
  /** How often a target was looked for, found or not. */
  #rounds = 0;
  #lastError: AnyserveError | undefined;

  /** Throws when the client is closed. */
  constructor(
    caller: RetryingCallerOptions,
    { defaultTimeoutMs, timeoutMs = caller.timeoutMs ?? defaultTimeoutMs, signal, retryOnFailure = true }: RetryOptions,
  ) {
    this.#caller = caller;
    this.#retryOnFailure = retryOnFailure;
    this.#cancellation = caller.underway.begin(signal);
    this.#timeoutMs = Math.min(timeoutMs, MAX_TIMEOUT_MS);
    this.#deadlineAtMs = caller.clock.nowMs() + this.#timeoutMs;
  }

  /** Finds the target of the next attempt; without a promise where it is known already. */
  next(): Target | Promise<Target> {
    this.#cancellation.throwIfCancelled();
    if (this.#lastError) return this.#nextAfter(this.#lastError);
    this.#rounds++;
    const found = this.#ask();
    if (!(found instanceof Promise) && found.kind === 'found') return found.target;
    return this.#first(found);
  }

  /** Finds the first target. Asks an API server that is warming again for as long as there is time. */
  async #first(asked: DiscoveryResult | Promise<DiscoveryResult>): Promise<Target> {
    const { clock, random, waitWhileWarming, query } = this.#caller;
    for (let found = await asked; ; found = await this.#ask()) {
      if (found.kind === 'found') return found.target;
      const pauseMs = WARMING_RETRY_MS * (0.5 + random.fraction());
      if (!waitWhileWarming || !found.isWarming || this.#remainingMs() <= pauseMs) throw createNoMatchError(query);
      await sleep(clock, pauseMs, this.#cancellation.signal);
      this.#cancellation.throwIfCancelled();
    }
  }

  /** Finds a target that has not failed yet; if there is none, any target after a pause. */
  async #nextAfter(error: AnyserveError): Promise<Target> {
    for (;;) {
      this.#cancellation.throwIfCancelled();
      this.#rounds++;
      const target = await this.#findOther(error);
      const isNew = target && !this.#failed.some(({ endpoint }) => endpoint === target.endpoint);
      if (!isNew) {
        if (!PASSING.has(error.code) || this.#rounds > MAX_ATTEMPTS) throw this.#noOther(error);
        await this.#pause();
      }
      if (!target) continue;
      if (this.#untold) this.#caller.onRetry?.({ ...this.#untold, next: target });
      this.#untold = undefined;
      return target;
    }
  }

  /** Begins an attempt at a target. Throws `failed_precondition` for one that can't be dialled. */
  begin(target: Target): Attempt {
    const deadlineEpochMs = this.#caller.clock.epochMs() + this.#remainingMs();
    return new Attempt(this.#caller, target, this.#failed.length + 1, this.#cancellation, {
      deadlineEpochMs,
      timeoutMs: this.#timeoutMs,
    });
  }

  /** Ends the call. */
  end(): void {
    this.#cancellation.end();
  }

  /** Records a failed attempt. Throws its error when no other attempt can follow. */
  recordFailure(target: Target, error: unknown): void {
    const { discovery } = this.#caller;
    if (!(error instanceof AnyserveError) || this.#cancellation.isCancelled) throw error;
    const isLast = error.final || error.code === 'deadline_exceeded' || this.#rounds >= MAX_ATTEMPTS;
    if (!this.#retryOnFailure || isLast || !discovery.hasOthers) throw error;
    this.#failed.push(target);
    if (target.replicaId !== undefined) this.#excluded.push(target.replicaId);
    this.#lastError = error;
    this.#untold = { attempt: this.#failed.length, ...target, error };
  }

  async #findOther(error: AnyserveError): Promise<Target | undefined> {
    try {
      const found = await this.#ask();
      return found.kind === 'found' ? found.target : undefined;
    } catch (cause) {
      if (this.#cancellation.isCancelled || cause === error) throw cause;
      const message = `${error.message}; no other can be asked for: ${getErrorMessage(cause)}`;
      throw new AnyserveError(error.code, message, { cause: error });
    }
  }

  #ask(): DiscoveryResult | Promise<DiscoveryResult> {
    const timeoutMs = Math.min(this.#remainingMs(), DISCOVERY_TIMEOUT_MS);
    return this.#caller.discovery.find(this.#excluded, timeoutMs, this.#cancellation);
  }

  async #pause(): Promise<void> {
    const { clock, random } = this.#caller;
    const pauseMs = random.fraction() * FIRST_PAUSE_MS * 2 ** this.#rounds;
    await sleep(clock, Math.min(pauseMs, this.#remainingMs()), this.#cancellation.signal);
    this.#cancellation.throwIfCancelled();
  }

  #remainingMs(): number {
    const remaining = this.#deadlineAtMs - this.#caller.clock.nowMs();
    if (remaining > 0) return remaining;
    throw this.#lastError ?? new AnyserveError('deadline_exceeded', describeTimeout(this.#timeoutMs));
  }

  #noOther(error: AnyserveError): AnyserveError {
    const message = `${error.message}; no other replica offers ${describeQuery(this.#caller.query)}`;
    return new AnyserveError(error.code, message, { cause: error });
  }
}
