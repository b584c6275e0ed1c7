import type { ErrorCode } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { Cancellation } from './cancellation.js';
import type { AttemptOutcome, Discovery, DiscoveryResult, Target } from './discovery.js';

/**
 * How long a replica is called again without asking the API server, after its last answer. Less than the 3.2 s that the
 * API server needs at least to notice that a host is gone, so that no call goes to a host that was removed for this.
 */
const KEPT_FOR_MS = 3000;

/** Timeout for the API server when it is asked whether there is another target than the kept one. */
const RECONSIDER_TIMEOUT_MS = 1000;

/** Failures caused by the request, which say nothing about the replica. */
const CALLER_ERRORS: ReadonlySet<ErrorCode> = new Set(['usage', 'invalid_argument', 'out_of_range', 'too_large']);

/** Keeps to the target that answered last, until it fails or has not answered for 3 s. */
export class StickyDiscovery implements Discovery {
  readonly #discovery: Discovery;
  readonly #clock: Clock;
  #kept: { readonly target: Target; heardAtMs: number } | undefined;

  constructor(discovery: Discovery, clock: Clock) {
    this.#discovery = discovery;
    this.#clock = clock;
  }

  get hasOthers(): boolean {
    return this.#discovery.hasOthers;
  }

  get lastTarget(): Target | undefined {
    return this.#kept?.target;
  }

  find(
    excluded: readonly ReplicaId[],
    timeoutMs: number,
    cancellation: Cancellation,
  ): DiscoveryResult | Promise<DiscoveryResult> {
    const kept = this.#kept;
    if (!kept || excluded.length > 0) return this.#discovery.find(excluded, timeoutMs, cancellation);
    const isFresh = this.#clock.nowMs() - kept.heardAtMs <= KEPT_FOR_MS;
    return isFresh ? { kind: 'found', target: kept.target } : this.#reconsider(kept.target, timeoutMs, cancellation);
  }

  reportPart(target: Target): void {
    this.#discovery.reportPart(target);
    this.#keep(target);
  }

  reportOutcome(target: Target, outcome: AttemptOutcome): void {
    this.#discovery.reportOutcome(target, outcome);
    if (outcome.kind === 'success') this.#keep(target);
    const isReplicaFailure = outcome.kind === 'failure' && !CALLER_ERRORS.has(outcome.error.code);
    if (isReplicaFailure && this.#kept?.target === target) this.#kept = undefined;
  }

  isListed(target: Target, signal: AbortSignal): Promise<boolean> {
    return this.#discovery.isListed(target, signal);
  }

  close(): void {
    this.#discovery.close();
  }

  #keep(target: Target): void {
    const heardAtMs = this.#clock.nowMs();
    if (this.#kept?.target === target) this.#kept.heardAtMs = heardAtMs;
    else this.#kept = { target, heardAtMs };
  }

  /** Asks for a target again. The host of the kept one can be dead although its connection is open. */
  async #reconsider(kept: Target, timeoutMs: number, cancellation: Cancellation): Promise<DiscoveryResult> {
    try {
      const found = await this.#discovery.find([], Math.min(timeoutMs, RECONSIDER_TIMEOUT_MS), cancellation);
      return found.kind === 'none' && found.isWarming ? { kind: 'found', target: kept } : found;
    } catch (error) {
      if (cancellation.isCancelled) throw error;
      // No API server answers. The target was good when one did.
      return { kind: 'found', target: kept };
    }
  }
}
