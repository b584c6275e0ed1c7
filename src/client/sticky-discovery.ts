import type { ErrorCode } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { Cancellation } from './cancellation.js';
import type { AttemptOutcome, Discovery, DiscoveryResult, Target } from './discovery.js';

/**
 * Time after its last response for which a replica is called again without a request to the API server, in ms. Less than the
 * 3.2 s that the API server needs at least to notice that a host is gone, so that no call goes to a host that was removed for
 * this.
 */
const STICKY_FOR_MS = 3000;

/** Timeout for the API server when the current target is reconsidered, in ms. */
const RECONSIDER_TIMEOUT_MS = 1000;

/** Errors caused by the request, which say nothing about the replica. */
const CALLER_ERRORS: ReadonlySet<ErrorCode> = new Set(['usage', 'invalid_argument', 'out_of_range', 'too_large']);

/** Returns the target that responded last, until it fails or hasn't responded for 3 s. */
export class StickyDiscovery implements Discovery {
  readonly #discovery: Discovery;
  readonly #clock: Clock;
  #current: { readonly target: Target; lastResponseAtMs: number } | undefined;

  constructor(discovery: Discovery, clock: Clock) {
    this.#discovery = discovery;
    this.#clock = clock;
  }

  get hasOthers(): boolean {
    return this.#discovery.hasOthers;
  }

  get lastTarget(): Target | undefined {
    return this.#current?.target;
  }

  find(
    excluded: readonly ReplicaId[],
    timeoutMs: number,
    cancellation: Cancellation,
  ): DiscoveryResult | Promise<DiscoveryResult> {
    const current = this.#current;
    if (!current || excluded.length > 0) return this.#discovery.find(excluded, timeoutMs, cancellation);
    const isFresh = this.#clock.nowMs() - current.lastResponseAtMs <= STICKY_FOR_MS;
    return isFresh
      ? { kind: 'found', target: current.target }
      : this.#reconsider(current.target, timeoutMs, cancellation);
  }

  reportMessage(target: Target): void {
    this.#discovery.reportMessage(target);
    this.#stickTo(target);
  }

  reportOutcome(target: Target, outcome: AttemptOutcome): void {
    this.#discovery.reportOutcome(target, outcome);
    if (outcome.kind === 'success') this.#stickTo(target);
    const isReplicaFailure = outcome.kind === 'failure' && !CALLER_ERRORS.has(outcome.error.code);
    if (isReplicaFailure && this.#current?.target === target) this.#current = undefined;
  }

  isListed(target: Target, signal: AbortSignal): Promise<boolean> {
    return this.#discovery.isListed(target, signal);
  }

  close(): void {
    this.#discovery.close();
  }

  #stickTo(target: Target): void {
    const lastResponseAtMs = this.#clock.nowMs();
    if (this.#current?.target === target) this.#current.lastResponseAtMs = lastResponseAtMs;
    else this.#current = { target, lastResponseAtMs };
  }

  /** Asks the API server for a target again. The host of the current target can be gone although its connection is open. */
  async #reconsider(current: Target, timeoutMs: number, cancellation: Cancellation): Promise<DiscoveryResult> {
    try {
      const found = await this.#discovery.find([], Math.min(timeoutMs, RECONSIDER_TIMEOUT_MS), cancellation);
      return found.kind === 'none' && found.isWarming ? { kind: 'found', target: current } : found;
    } catch (error) {
      if (cancellation.isCancelled) throw error;
      // No API server responds. The current target was listed when one last did.
      return { kind: 'found', target: current };
    }
  }
}
