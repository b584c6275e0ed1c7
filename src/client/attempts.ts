import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError, type ErrorCode, messageOf } from '../core/errors.js';
import type { Clock, Random } from '../core/ports.js';
import { quoted } from '../core/quoted.js';
import type { Cancellation, Underway } from './cancellation.js';
import type { ChannelPool } from './channel-pool.js';
import type { FailedAttempt } from './client-options.js';
import { type Discovery, type Finding, noMatch, queryText, type Target } from './discovery.js';
import { noAnswerWithin } from './duration-text.js';
import type { CallOptions, InferenceChannel } from './inference-channel.js';
import type { ListingWatch, WatchedCall } from './listing-watch.js';
import { sleep } from './sleep.js';

/** What a retrying caller needs. */
export interface RetryingCallerOptions {
  readonly discovery: Discovery;
  readonly channels: ChannelPool;
  readonly query: CapabilityQuery;
  /** How long a call may take in place of what its kind may. */
  readonly timeoutMs: number | undefined;
  /** Looks after calls under way; undefined where there is no list to look into. */
  readonly listing?: ListingWatch | undefined;
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

/** How long a replica may take to answer on a new connection, before it counts as dead. */
const SILENT_AFTER_MS = 2000;

/** The longest time that a timer can hold, about 24 days. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Around this long, ±50 %, is the wait before an API server that is warming is asked again. */
export const WARMING_PAUSE_MS = 500;

/** Failures that the same replica may get over by itself; any other is tried at other replicas only. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'resource_exhausted', 'aborted', 'cancelled']);

const NOWHERE: Target = { endpoint: '', replicaId: undefined };

/** Failures of what was asked, and not of the replica that was. */
const OF_THE_CALLER: ReadonlySet<ErrorCode> = new Set(['usage', 'invalid_argument', 'out_of_range', 'too_large']);

/** A target that calls were answered by. */
export interface KeptTarget {
  readonly target: Target;
  /** When it was last heard of. */
  heardAtMs: number;
}

/** The tries of one call: where each goes, and whether another follows. */
export class Attempts implements WatchedCall {
  readonly #caller: RetryingCallerOptions;
  readonly #retryOnFailure: boolean;
  readonly #cancellation: Cancellation;
  readonly #timeoutMs: number;
  readonly #deadlineAtMs: number;
  readonly #failed: Target[] = [];
  /** The failure that is told once it is known where the next try goes. */
  #untold: Omit<FailedAttempt, 'next'> | undefined;
  /** Where the try under way goes. */
  target: Target = NOWHERE;
  heardAtMs: number;
  /** How often a target was looked for, found or not. */
  #rounds = 0;
  #lastError: AnyserveError | undefined;
  /** The channel of the try under way. */
  #channel: InferenceChannel | undefined;

  /** Throws when the client is closed. */
  constructor(
    caller: RetryingCallerOptions,
    { defaultTimeoutMs, timeoutMs = caller.timeoutMs ?? defaultTimeoutMs, signal, retryOnFailure = true }: RetryOptions,
  ) {
    this.#caller = caller;
    this.#retryOnFailure = retryOnFailure;
    this.#cancellation = caller.underway.begin(signal);
    this.#timeoutMs = Math.min(timeoutMs, MAX_TIMEOUT_MS);
    this.heardAtMs = caller.clock.nowMs();
    this.#deadlineAtMs = this.heardAtMs + this.#timeoutMs;
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

  /** The channel to a target, which stays open until the next try or the end. */
  open(target: Target): InferenceChannel {
    try {
      const channel = this.#caller.channels.get(target.endpoint);
      channel.acquire();
      this.#channel = channel;
      this.target = target;
      this.heardAtMs = this.#caller.clock.nowMs();
      this.#cancellation.beginAttempt();
      this.#caller.listing?.add(this);
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
    const deadlineEpochMs = this.#caller.clock.epochMs() + this.#remainingMs();
    return { deadlineEpochMs, timeoutMs: this.#timeoutMs, cancellation: this.#cancellation };
  }

  async isSilent(): Promise<boolean> {
    return (await this.#channel?.isSilent(SILENT_AFTER_MS)) ?? false;
  }

  fail(error: AnyserveError): void {
    this.#cancellation.interrupt(error);
  }

  /** Whether a failure is of the replica that was called, and not of the caller. */
  isOfTheReplica(error: unknown): boolean {
    return error instanceof AnyserveError && !this.#cancellation.isCancelled && !OF_THE_CALLER.has(error.code);
  }

  /** Takes note of a failed try; throws its error when no other may follow. */
  failed(target: Target, error: unknown): void {
    const { discovery, channels } = this.#caller;
    if (!(error instanceof AnyserveError) || this.#cancellation.isCancelled) throw error;
    if (error.code === 'unavailable' && this.#channel) channels.drop(this.#channel);
    const isLast = error.final || error.code === 'deadline_exceeded' || this.#rounds >= MAX_ATTEMPTS;
    if (!this.#retryOnFailure || isLast || !discovery.hasOthers) throw error;
    this.#releaseChannel();
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

  #releaseChannel(): void {
    this.#caller.listing?.delete(this);
    this.#channel?.release();
    this.#channel = undefined;
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
