import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError, type ErrorCode, messageOf } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Clock, Random } from '../core/ports.js';
import { quoted } from '../core/quoted.js';
import type { Cancellation, Underway } from './cancellation.js';
import type { ChannelPool } from './channel-pool.js';
import { type Discovery, type Finding, noMatch, queryText, type Target } from './discovery.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import { sleep } from './sleep.js';

/** A try that failed and is followed by another. */
export interface FailedAttempt {
  /** The number of the try, from 1. */
  readonly attempt: number;
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
  readonly error: AnyserveError;
}

/** What a retrying caller needs. */
export interface RetryingCallerOptions {
  readonly discovery: Discovery;
  readonly channels: ChannelPool;
  readonly query: CapabilityQuery;
  readonly timeoutMs: number;
  /** Whether a call waits for replicas that may be on their way back to an API server that has just started. */
  readonly waitWhileWarming: boolean;
  /** The calls that end when the client is closed. */
  readonly underway: Underway;
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

/** What a call may say of its retries. */
export interface RetryOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly retryOnFailure?: boolean | undefined;
}

/** So few that the replicas to leave out always fit the request. */
const MAX_ATTEMPTS = 5;
const FIRST_PAUSE_MS = 100;
const DISCOVERY_TIMEOUT_MS = 3000;

/** Around this long, ±50 %, is the wait before an API server that is warming is asked again. */
export const WARMING_PAUSE_MS = 500;

/** Failures that the same replica may get over by itself; any other is tried at other replicas only. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'resource_exhausted', 'aborted', 'cancelled']);

/** Failures of what was asked, and not of the replica that was. */
const OF_THE_CALLER: ReadonlySet<ErrorCode> = new Set(['usage', 'invalid_argument', 'out_of_range', 'too_large']);

/** The tries of one call: where each goes, and whether another follows. */
export class Attempts {
  readonly #caller: RetryingCallerOptions;
  readonly #retryOnFailure: boolean;
  readonly #cancellation: Cancellation;
  readonly #timeoutMs: number;
  readonly #deadlineAtMs: number;
  readonly #failed: Target[] = [];
  /** How often a target was looked for, found or not. */
  #rounds = 0;
  #lastError: AnyserveError | undefined;
  /** The channel of the try under way. */
  #channel: InferenceChannel | undefined;

  /** Throws when the client is closed. */
  constructor(
    caller: RetryingCallerOptions,
    { timeoutMs = caller.timeoutMs, signal, retryOnFailure = true }: RetryOptions,
  ) {
    this.#caller = caller;
    this.#retryOnFailure = retryOnFailure;
    this.#cancellation = caller.underway.begin(signal);
    this.#timeoutMs = timeoutMs;
    this.#deadlineAtMs = caller.clock.nowMs() + timeoutMs;
  }

  /** Where the first try goes when there is a target that was kept; undefined where one is to be looked for. */
  first(kept: Target | undefined): Target | undefined {
    this.#cancellation.throwIfCancelled();
    if (!kept || this.#lastError) return undefined;
    this.#rounds++;
    return kept;
  }

  /** Where the next try goes: to a target that has not failed yet, or else, after a pause, to whichever is there. */
  async next(): Promise<Target> {
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

  /** The channel to a target, which stays open until the next try or the end. */
  open(target: Target): InferenceChannel {
    try {
      const channel = this.#caller.channels.get(target.endpoint);
      channel.acquire();
      this.#channel = channel;
      return channel;
    } catch (cause) {
      const message = `replica ${quoted(target.replicaId ?? target.endpoint)}: ${messageOf(cause)}`;
      // It would be the same at the next try: only another replica can do better.
      throw new AnyserveError('failed_precondition', message, { cause });
    }
  }

  /** No try follows. */
  end(): void {
    this.#releaseChannel();
    this.#cancellation.end();
  }

  /** What is left of the time for one try. */
  callOptions(): CallOptions {
    return { deadlineEpochMs: this.#caller.clock.epochMs() + this.#remainingMs(), cancellation: this.#cancellation };
  }

  /** Whether a failure is of the replica that was called, and not of the caller. */
  isOfTheReplica(error: unknown): boolean {
    return error instanceof AnyserveError && !this.#cancellation.isCancelled && !OF_THE_CALLER.has(error.code);
  }

  /** Takes note of a failed try; throws its error when no other may follow. */
  failed(target: Target, error: unknown): void {
    const { discovery, channels, onRetry } = this.#caller;
    if (!(error instanceof AnyserveError) || this.#cancellation.isCancelled) throw error;
    if (error.code === 'unavailable' && this.#channel) channels.drop(this.#channel);
    const isLast = error.final || error.code === 'deadline_exceeded' || this.#rounds >= MAX_ATTEMPTS;
    if (!this.#retryOnFailure || isLast || !discovery.hasOthers) throw error;
    this.#releaseChannel();
    this.#failed.push(target);
    this.#lastError = error;
    onRetry?.({ attempt: this.#failed.length, ...target, error });
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

  #releaseChannel(): void {
    this.#channel?.release();
    this.#channel = undefined;
  }

  #remainingMs(): number {
    const remaining = this.#deadlineAtMs - this.#caller.clock.nowMs();
    if (remaining > 0) return remaining;
    throw this.#lastError ?? new AnyserveError('deadline_exceeded', `no answer within ${this.#timeoutMs} ms`);
  }

  #noOther(error: AnyserveError): AnyserveError {
    const message = `${error.message}; no other replica offers ${queryText(this.#caller.query)}`;
    return new AnyserveError(error.code, message, { cause: error });
  }
}
