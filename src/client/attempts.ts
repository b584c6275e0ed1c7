import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError, type ErrorCode, messageOf } from '../core/errors.js';
import type { Random } from '../core/ports.js';
import { Attempt, type AttemptContext } from './attempt.js';
import type { CallCancellation, Underway } from './cancellation.js';
import type { FailedAttempt } from './client-options.js';
import { type Discovery, type Finding, noMatch, queryText, type Target } from './discovery.js';
import { noAnswerWithin } from './duration-text.js';
import { sleep } from './sleep.js';

/** What a retrying caller needs. */
export interface RetryingCallerOptions extends AttemptContext {
  readonly discovery: Discovery;
  readonly query: CapabilityQuery;
  /** How long a call may take in place of what its kind may. */
  readonly timeoutMs: number | undefined;
  /** Whether a call waits for replicas that may be on their way back to an API server that has just started. */
  readonly waitWhileWarming: boolean;
  /** The calls that end when the client is closed. */
  readonly underway: Underway;
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
/**
 * How long a replica is called again without asking the API server, after it was last heard of. Less than the API server
 * takes to notice that a host is gone, which is 3.2 s at least, so that no call goes to one that has left the list for that.
 */
const KEPT_FOR_MS = 3000;
const FIRST_PAUSE_MS = 100;
const DISCOVERY_TIMEOUT_MS = 3000;

/** How long the API server may take to say whether there is another target than the one that was kept. */
const RECONSIDER_TIMEOUT_MS = 1000;

/** The longest time that a timer can hold, about 24 days. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Around this long, ±50 %, is the wait before an API server that is warming is asked again. */
export const WARMING_PAUSE_MS = 500;

/** Failures that the same replica may get over by itself; any other is tried at other replicas only. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'resource_exhausted', 'aborted', 'cancelled']);

/** Failures of what was asked, and not of the replica that was. */
const OF_THE_CALLER: ReadonlySet<ErrorCode> = new Set(['usage', 'invalid_argument', 'out_of_range', 'too_large']);

/** A target that calls were answered by. */
export interface KeptTarget {
  readonly target: Target;
  /** When it was last heard of. */
  heardAtMs: number;
}

/** The attempts of one call: chooses the target of each, and decides whether another follows. */
export class Attempts {
  readonly #caller: RetryingCallerOptions;
  readonly #retryOnFailure: boolean;
  readonly #cancellation: CallCancellation;
  readonly #timeoutMs: number;
  readonly #deadlineAtMs: number;
  readonly #failed: Target[] = [];
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

  /**
   * Where the first try goes when there is a target that was kept; undefined where one is to be looked for. One that was not
   * heard of for a while may be dead, though its connection is open.
   */
  first(kept: KeptTarget | undefined): Target | Promise<Target | undefined> | undefined {
    this.#cancellation.throwIfCancelled();
    if (!kept || this.#lastError) return undefined;
    this.#rounds++;
    const { clock, discovery } = this.#caller;
    const isFresh = clock.nowMs() - kept.heardAtMs <= KEPT_FOR_MS;
    return isFresh || !discovery.hasOthers ? kept.target : this.#reconsidered(kept.target);
  }

  /** The kept target, or another if the API server gives that; undefined when nothing matches any more. */
  async #reconsidered(kept: Target): Promise<Target | undefined> {
    const timeoutMs = Math.min(this.#remainingMs(), RECONSIDER_TIMEOUT_MS);
    try {
      const found = await this.#caller.discovery.find([], timeoutMs, this.#cancellation.signal);
      if (found.kind === 'found') return found.target;
      return found.isWarming ? kept : undefined;
    } catch (error) {
      if (this.#cancellation.isCancelled) throw error;
      // No API server answers, and the target was good when one did.
      return kept;
    }
  }

  /** Where the next try goes: to a target that has not failed yet, or else, after a pause, to whichever is there. */
  async next(): Promise<Target> {
    const target = await this.#next();
    if (this.#untold) this.#caller.onRetry?.({ ...this.#untold, next: target });
    this.#untold = undefined;
    return target;
  }

  async #next(): Promise<Target> {
    for (;;) {
      this.#cancellation.throwIfCancelled();
      this.#rounds++;
      const target = await this.#find();
      if (!this.#lastError) {
        if (target) return target;
        throw noMatch(this.#caller.query);
      }
      if (target && !this.#failed.some(({ endpoint }) => endpoint === target.endpoint)) return target;
      if (!PASSING.has(this.#lastError.code) || this.#rounds > MAX_ATTEMPTS) throw this.#noOther(this.#lastError);
      await this.#pause();
      if (target) return target;
    }
  }

  /** Begins an attempt at a target. Throws `failed_precondition` for one that can't be dialled. */
  begin(target: Target): Attempt {
    const deadlineEpochMs = this.#caller.clock.epochMs() + this.#remainingMs();
    return new Attempt(this.#caller, target, this.#cancellation, { deadlineEpochMs, timeoutMs: this.#timeoutMs });
  }

  /** Ends the call. */
  end(): void {
    this.#cancellation.end();
  }

  /** Whether a failure is of the replica that was called, and not of the caller. */
  isOfTheReplica(error: unknown): boolean {
    return error instanceof AnyserveError && !this.#cancellation.isCancelled && !OF_THE_CALLER.has(error.code);
  }

  /** Takes note of a failed try; throws its error when no other may follow. */
  failed(target: Target, error: unknown): void {
    const { discovery } = this.#caller;
    if (!(error instanceof AnyserveError) || this.#cancellation.isCancelled) throw error;
    const isLast = error.final || error.code === 'deadline_exceeded' || this.#rounds >= MAX_ATTEMPTS;
    if (!this.#retryOnFailure || isLast || !discovery.hasOthers) throw error;
    this.#failed.push(target);
    this.#lastError = error;
    this.#untold = { attempt: this.#failed.length, ...target, error };
  }

  /** Looks for a target; of an API server that is warming it asks again for as long as there is time. */
  async #find(): Promise<Target | undefined> {
    for (;;) {
      const found = await this.#ask();
      if (found.kind === 'found') return found.target;
      const { clock, random, waitWhileWarming } = this.#caller;
      const pauseMs = WARMING_PAUSE_MS * (0.5 + random.fraction());
      const isWorthIt = waitWhileWarming && found.isWarming && !this.#lastError;
      if (!isWorthIt || this.#remainingMs() <= pauseMs) return undefined;
      await sleep(clock, pauseMs, this.#cancellation.signal);
      this.#cancellation.throwIfCancelled();
    }
  }

  async #ask(): Promise<Finding> {
    const excluded = this.#failed.flatMap(({ replicaId }) => replicaId ?? []);
    try {
      const timeoutMs = Math.min(this.#remainingMs(), DISCOVERY_TIMEOUT_MS);
      return await this.#caller.discovery.find(excluded, timeoutMs, this.#cancellation.signal);
    } catch (error) {
      if (!this.#lastError || this.#cancellation.isCancelled) throw error;
      const message = `${this.#lastError.message}; no other can be asked for: ${messageOf(error)}`;
      throw new AnyserveError(this.#lastError.code, message, { cause: this.#lastError });
    }
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
    throw this.#lastError ?? new AnyserveError('deadline_exceeded', noAnswerWithin(this.#timeoutMs));
  }

  #noOther(error: AnyserveError): AnyserveError {
    const message = `${error.message}; no other replica offers ${queryText(this.#caller.query)}`;
    return new AnyserveError(error.code, message, { cause: error });
  }
}
