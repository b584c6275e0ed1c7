import { type CapabilityQuery, getPairValue } from '../core/capability.js';
import { describeTimeout, formatDuration } from '../core/durations.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { CallTrace, Random } from '../core/ports.js';
import { sleep } from './async-waits.js';
import { Attempt, type AttemptContext, type CallChannel, callListener } from './attempt.js';
import type { HedgeBudget } from './balancing/hedging.js';
import { readPushBackMs } from './balancing/push-back.js';
import type { RetryBudget, RetryBudgets } from './balancing/retry-budget.js';
import { classifyFailure, type FailureKind } from './balancing/retry-rules.js';
import type { ActiveCalls, CallCancellation } from './cancellation.js';
import type { CallSettings, FailedAttempt } from './client-options.js';
import { BusyError, ConnectTimeoutError } from './connection-errors.js';
import {
  createNoMatchError,
  type DiscoveryResult,
  describeQuery,
  type PushedBack,
  type Target,
  WARMING_RETRY_MS,
} from './discovery.js';

/** Options of a `RetryingCaller`. */
export interface RetryingCallerOptions<Channel extends CallChannel> extends AttemptContext<Channel> {
  readonly query: CapabilityQuery;
  /** Selector that replicas must match, for messages. */
  readonly where?: string | undefined;
  /** Timeout for every call, in ms; undefined for the default of each kind of call. */
  readonly timeoutMs: number | undefined;
  /** Whether a call without a match waits for replicas to reconnect to an API server that has just started. */
  readonly waitWhileWarming: boolean;
  /** The calls in progress, which end when the client is closed. */
  readonly activeCalls: ActiveCalls;
  /** The retries that callers can make. */
  readonly budgets: RetryBudgets;
  /** When a second attempt of a slow call begins. Undefined: never. */
  readonly hedging?: { readonly afterMs: number; readonly budget: HedgeBudget } | undefined;
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  readonly random: Random;
}

/** Maximum number of attempts of a call: an input that crashes engines must not visit the whole fleet. */
const MAX_ATTEMPTS = 3;

/** Maximum number of attempts whose request a replica has received and not refused. */
const MAX_COMPLETE_ATTEMPTS = 2;

const BASE_RETRY_DELAY_MS = 100;
const MAX_RETRY_DELAY_MS = 1000;
const DISCOVERY_TIMEOUT_MS = 3000;

/** Maximum addition to the time for which all replicas asked not to be called, as a part of it. */
const PUSH_BACK_JITTER = 0.2;

/** Maximum delay of a timer, about 24 days. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * The attempts of one call: chooses the target of each, and decides whether another follows. A retry is free or takes a
 * token of the client's budget: see {@link RetryBudget}.
 */
export class CallAttempts<Channel extends CallChannel> {
  readonly #context: RetryingCallerOptions<Channel>;
  readonly #options: CallSettings;
  readonly #budget: RetryBudget;
  readonly #cancellation: CallCancellation;
  readonly #timeoutMs: number;
  readonly #deadlineAtMs: number;
  readonly #failed: FailedTry[] = [];
  /** The replicas at which attempts have failed. */
  readonly #excluded: ReplicaId[] = [];
  /** Failed attempt to pass to `onRetry` when the next target is known. */
  #unreportedFailure: Omit<FailedAttempt, 'next'> | undefined;
  #completeAttempts = 0;
  #trace: CallTrace | undefined;
  /** Whether the next retry needs no token and no pause. */
  #isNextFree = false;
  #hadFreeRetry = false;

  /** `defaultTimeoutMs` applies if neither the call nor the client sets a timeout. Throws when the client is closed. */
  constructor(context: RetryingCallerOptions<Channel>, options: CallSettings, defaultTimeoutMs: number) {
    const { timeoutMs, signal } = options;
    this.#trace = startTrace(context);
    this.#context = this.#trace ? { ...context, tracer: this.#trace } : context;
    this.#options = options;
    this.#cancellation = context.activeCalls.begin(signal);
    this.#timeoutMs = Math.min(timeoutMs ?? context.timeoutMs ?? defaultTimeoutMs, MAX_TIMEOUT_MS);
    this.#deadlineAtMs = context.clock.nowMs() + this.#timeoutMs;
    this.#budget = context.budgets.get(options.caller ?? '');
    this.#budget.addCall();
    options.onBegin?.(this.#cancellation);
  }

  /** Finds the target of the next attempt. Returns no promise if the target is known already. */
  next(): Target | Promise<Target> {
    this.#cancellation.throwIfCancelled();
    const last = this.#failed.at(-1);
    if (last) return this.#findAfter(last);
    const found = this.#discover();
    if (!(found instanceof Promise) && found.kind === 'found') return found.target;
    return this.#findFirst(found);
  }

  /** Begins an attempt at a target. Throws `failed_precondition` for a target whose endpoint isn't valid. */
  begin(target: Target): Attempt<Channel> {
    return this.#begin(target, this.#failed.length + 1);
  }

  /**
   * Begins a second attempt while the first one takes long. Returns undefined if no other replica can take it, or if too many
   * calls are hedged.
   */
  beginHedge(first: Target): Attempt<Channel> | undefined {
    const { discovery, clock, hedging } = this.#context;
    const number = this.#failed.length + 2;
    const isOver = this.#cancellation.isCancelled || clock.nowMs() >= this.#deadlineAtMs;
    if (isOver || number > MAX_ATTEMPTS || this.#completeAttempts + 2 > MAX_COMPLETE_ATTEMPTS) return undefined;
    const excluded = first.replicaId === undefined ? this.#excluded : [...this.#excluded, first.replicaId];
    const target = discovery.findOther({ excluded, affinity: this.#options.affinity });
    return target && hedging?.budget.take() ? this.#begin(target, number) : undefined;
  }

  /** Records a failure while another attempt is in progress. */
  addFailure(attempt: Attempt<Channel>, error: unknown): void {
    if (error instanceof AnyserveError) this.#addFailure(attempt.target, attempt, error);
  }

  #addFailure(target: Target, attempt: Attempt<Channel> | undefined, error: AnyserveError): FailureKind {
    const kind = classifyFailure(error);
    if (isComplete(kind)) this.#completeAttempts++;
    this.#failed.push({ target, attempt, error, kind, failedAtMs: this.#context.clock.nowMs() });
    if (target.replicaId !== undefined) this.#excluded.push(target.replicaId);
    return kind;
  }

  #begin(target: Target, number: number): Attempt<Channel> {
    const deadlineEpochMs = this.#context.clock.epochMs() + this.#requireRemainingMs();
    return new Attempt(this.#context, target, number, this.#cancellation, deadlineEpochMs, this.#timeoutMs);
  }

  /** Ends the call. */
  end(): void {
    const trace = this.#trace;
    this.#trace = undefined;
    if (trace) callListener(() => trace.end());
    this.#cancellation.end();
  }

  /** Lets another attempt follow a failed one. Throws its error if none can. `attempt` is undefined if it could not begin. */
  continueAfter(target: Target, attempt: Attempt<Channel> | undefined, error: unknown): void {
    const { discovery } = this.#context;
    if (!(error instanceof AnyserveError) || this.#cancellation.isCancelled) throw error;
    const kind = this.#addFailure(target, attempt, error);
    if (kind === 'internal') this.#forgiveIfOthersFailed();
    const isLast =
      kind === 'final' || this.#failed.length >= MAX_ATTEMPTS || this.#completeAttempts >= MAX_COMPLETE_ATTEMPTS;
    if (isLast || this.#options.retryOnFailure === false || !discovery.hasOthers) throw error;
    this.#isNextFree = this.#isFree(target, kind);
    if (!this.#isNextFree && !this.#budget.take()) throw this.#createNoBudgetError(error);
    this.#hadFreeRetry ||= this.#isNextFree;
    this.#unreportedFailure = { attempt: this.#failed.length, ...target, error };
  }

  /**
   * Returns whether a retry needs no token: the first one of a call, after a failure that shows the end of a replica and no
   * overload, if a replica is left that doesn't fail.
   */
  #isFree(target: Target, kind: FailureKind): boolean {
    const { discovery } = this.#context;
    if (this.#hadFreeRetry || !discovery.hasHealthyOther(target)) return false;
    return kind === 'not_started' || kind === 'broken' || discovery.hasLeft(target);
  }

  /** Takes back the internal errors if several replicas failed this call: its input is the likely cause. */
  #forgiveIfOthersFailed(): void {
    const failed = this.#failed.filter(({ kind }) => kind === 'internal');
    if (failed.length > 1) for (const { attempt } of failed) attempt?.forgive();
  }

  /** Finds the first target. Keeps asking API servers that are warming up until the deadline is near. */
  async #findFirst(firstResult: DiscoveryResult | Promise<DiscoveryResult>): Promise<Target> {
    const { clock, random, waitWhileWarming, query, where } = this.#context;
    for (let found = await firstResult; ; found = await this.#discover()) {
      if (found.kind === 'found') return found.target;
      if (found.kind === 'full') throw this.#createFullError(undefined);
      if (found.kind === 'pushed_back') await this.#waitForPushBack(found, undefined);
      else {
        const delayMs = WARMING_RETRY_MS * (0.5 + random.fraction());
        const createError = (): AnyserveError =>
          createNoMatchError(query, { where, otherProtocol: found.otherProtocol });
        if (!waitWhileWarming || !found.isWarming || this.#remainingMs <= delayMs) throw createError();
        await sleep(clock, delayMs, this.#cancellation.signal);
        this.#cancellation.throwIfCancelled();
        // A busy machine can wake up after the deadline, and the servers have answered.
        if (this.#remainingMs <= 0) throw createError();
      }
    }
  }

  /** Finds the target of a retry: one that hasn't failed yet, else one that has, unless it would fail again. */
  async #findAfter(last: FailedTry): Promise<Target> {
    if (!this.#isNextFree) await this.#waitBeforeRetry();
    for (;;) {
      const found = await this.#findOther(last.error);
      if (found.kind === 'full') throw this.#createFullError(last.error);
      if (found.kind === 'pushed_back') {
        await this.#waitForPushBack(found, last.error);
        continue;
      }
      const target = found.kind === 'found' ? found.target : last.target;
      const isNew = !this.#failed.some((failed) => isSame(failed.target, target));
      const isGone = found.kind === 'none' && this.#context.discovery.hasLeft(target);
      if (!isNew && (isGone || !canPass(last))) throw this.#createNoOtherReplicaError(last.error);
      if (!isNew) {
        const untilMs = this.#getPushedBackUntilMs(target);
        await this.#waitForPushBack({ untilMs, askedUntilMs: untilMs }, last.error);
      }
      this.#reportFailure(target);
      return target;
    }
  }

  /** Reports the last failure to the client's listener, with the target of the next attempt. */
  #reportFailure(next: Target): void {
    const failure = this.#unreportedFailure;
    this.#unreportedFailure = undefined;
    if (failure) callListener(() => this.#context.onRetry?.({ ...failure, next }));
  }

  /** Returns the time until which a replica that failed asked not to be called. */
  #getPushedBackUntilMs({ endpoint }: Target): number {
    const tries = this.#failed.filter(({ target }) => target.endpoint === endpoint);
    return Math.max(...tries.map(({ error, failedAtMs }) => failedAtMs + (readPushBackMs(error) ?? 0)));
  }

  async #findOther(error: AnyserveError): Promise<DiscoveryResult> {
    try {
      return await this.#discover();
    } catch (cause) {
      if (this.#cancellation.isCancelled || cause === error) throw cause;
      const message = `${error.message}; cannot look for another replica: ${getErrorMessage(cause)}`;
      throw new AnyserveError(error.code, message, { cause: error });
    }
  }

  #discover(): DiscoveryResult | Promise<DiscoveryResult> {
    return this.#context.discovery.find({
      excluded: this.#excluded,
      affinity: this.#options.affinity,
      leavesOutFull: this.#options.failWhenBusy,
      timeoutMs: Math.min(this.#requireRemainingMs(), DISCOVERY_TIMEOUT_MS),
      cancellation: this.#cancellation,
    });
  }

  async #waitBeforeRetry(): Promise<void> {
    const { clock, random } = this.#context;
    const ceilingMs = Math.min(MAX_RETRY_DELAY_MS, BASE_RETRY_DELAY_MS * 2 ** (this.#failed.length - 1));
    const delayMs = Math.min(random.fraction() * ceilingMs, this.#requireRemainingMs());
    await sleep(clock, delayMs, this.#cancellation.signal);
    this.#cancellation.throwIfCancelled();
  }

  /** Waits until a replica can be called again. Throws at once if the deadline is earlier. */
  async #waitForPushBack(
    { untilMs, askedUntilMs }: Pick<PushedBack, 'untilMs' | 'askedUntilMs'>,
    lastError: AnyserveError | undefined,
  ): Promise<void> {
    const { clock, random, query, where } = this.#context;
    const delayMs = Math.max(0, untilMs - clock.nowMs()) * (1 + PUSH_BACK_JITTER * random.fraction());
    const remainingMs = this.#requireRemainingMs();
    if (delayMs >= remainingMs || (delayMs > 0 && this.#options.failWhenBusy)) {
      const retryAfterMs = askedUntilMs - clock.nowMs();
      const seconds = Math.ceil(retryAfterMs / 1000);
      const wait = `all replicas that offer ${describeQuery(query, where)} ask to wait for ${formatDuration(seconds * 1000)}`;
      const message = lastError ? `${lastError.message}; ${wait}` : wait;
      throw new BusyError(lastError?.code ?? 'resource_exhausted', message, retryAfterMs, { cause: lastError });
    }
    await sleep(clock, delayMs, this.#cancellation.signal);
    this.#cancellation.throwIfCancelled();
  }

  #createFullError(lastError: AnyserveError | undefined): BusyError {
    const { query, where } = this.#context;
    const reason = `all replicas that offer ${describeQuery(query, where)} run as many calls as they can`;
    const message = lastError ? `${lastError.message}; ${reason}` : reason;
    return new BusyError(lastError?.code ?? 'unavailable', message, 0, { cause: lastError });
  }

  get #remainingMs(): number {
    return this.#deadlineAtMs - this.#context.clock.nowMs();
  }

  /** Returns the time until the deadline. After it, throws the error of the last attempt, or `deadline_exceeded`. */
  #requireRemainingMs(): number {
    const remainingMs = this.#remainingMs;
    if (remainingMs > 0) return remainingMs;
    throw this.#failed.at(-1)?.error ?? new AnyserveError('deadline_exceeded', describeTimeout(this.#timeoutMs));
  }

  #createNoBudgetError(error: AnyserveError): AnyserveError {
    const { query, where } = this.#context;
    const message = `${error.message}; not retried: too many calls for ${describeQuery(query, where)} fail`;
    return new AnyserveError(error.code, message, { cause: error });
  }

  #createNoOtherReplicaError(error: AnyserveError): AnyserveError {
    const { query, where } = this.#context;
    const message = `${error.message}; no other replica offers ${describeQuery(query, where)}`;
    return new AnyserveError(error.code, message, { cause: error });
  }
}

/** Starts the trace of a call, if there is a tracer for calls. */
function startTrace({ tracer, query }: Pick<RetryingCallerOptions<CallChannel>, 'tracer' | 'query'>) {
  return tracer?.startCall && callListener(() => tracer.startCall?.({ model: getPairValue('model', query) }));
}

/** A failed attempt of a call. */
interface FailedTry {
  readonly target: Target;
  readonly attempt: Attempt | undefined;
  readonly error: AnyserveError;
  readonly kind: FailureKind;
  readonly failedAtMs: number;
}

/** Returns whether a replica received the whole request and did not refuse it. */
function isComplete(kind: FailureKind): boolean {
  return kind === 'broken' || kind === 'internal';
}

function isSame(one: Target, other: Target): boolean {
  return one.endpoint === other.endpoint;
}

/** Returns whether an attempt at the same replica can succeed soon. */
function canPass({ kind, error }: FailedTry): boolean {
  if (error instanceof ConnectTimeoutError || error.code === 'failed_precondition') return false;
  return kind === 'busy' || kind === 'not_started' || kind === 'broken';
}
