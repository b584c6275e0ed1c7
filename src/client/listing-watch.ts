import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { Target } from './discovery.js';

/** A call in progress at a replica. */
export interface WatchedCall {
  readonly target: Target;
  /** Time of the replica's last message for this call, as `nowMs` of the clock. Initially the start of the call. */
  readonly lastMessageAtMs: number;
  /** Returns whether the replica doesn't respond on a new connection either. */
  isUnresponsive(): Promise<boolean>;
  /** Ends the attempt with an error. Another replica can be tried. */
  fail(error: AnyserveError): void;
}

/** Options of a {@link ListingWatch}. */
export interface ListingWatchOptions {
  readonly clock: Clock;
  /** Returns whether a replica is in the list. Rejects if no API server responds. */
  readonly isListed: (target: Target) => Promise<boolean>;
}

/** Time without a message after which a call is quiet and its replica is looked up in the list, in ms. */
const QUIET_AFTER_MS = 5000;

/** Minimum interval between two lookups of the replicas of quiet calls, in ms. */
const LISTING_CHECK_INTERVAL_MS = 2000;

/** Minimum wait after a lookup, as a multiple of its duration: a server that can only list all replicas is asked less often. */
const WAIT_PER_LOOKUP_DURATION = 20;

/**
 * Fails calls in progress at a replica that is frozen or whose host is gone. Such a replica leaves the list within seconds,
 * but its connections stay open. A replica that drains leaves the list too, so a call fails only if its replica also
 * doesn't respond on a new connection. If no API server responds, no call fails.
 */
export class ListingWatch {
  readonly #options: ListingWatchOptions;
  readonly #calls = new Set<WatchedCall>();
  #cancelTimer: (() => void) | undefined;
  #isChecking = false;

  constructor(options: ListingWatchOptions) {
    this.#options = options;
  }

  add(call: WatchedCall): void {
    this.#calls.add(call);
    if (!this.#cancelTimer && !this.#isChecking) this.#scheduleCheck(QUIET_AFTER_MS);
  }

  delete(call: WatchedCall): void {
    this.#calls.delete(call);
    if (this.#calls.size > 0) return;
    // Without calls, a timer would only keep the process alive.
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #scheduleCheck(delayMs: number): void {
    this.#cancelTimer = this.#options.clock.schedule(delayMs, () => {
      this.#cancelTimer = undefined;
      void this.#check();
    });
  }

  async #check(): Promise<void> {
    this.#isChecking = true;
    const quietCalls = new Map<string, WatchedCall>();
    for (const call of this.#calls) if (this.#isQuiet(call)) quietCalls.set(getTargetKey(call.target), call);
    const lookupsMs = await Promise.all([...quietCalls.values()].map((call) => this.#checkReplica(call)));
    this.#isChecking = false;
    if (this.#calls.size > 0) {
      this.#scheduleCheck(Math.max(LISTING_CHECK_INTERVAL_MS, ...lookupsMs.map((ms) => ms * WAIT_PER_LOOKUP_DURATION)));
    }
  }

  #isQuiet({ lastMessageAtMs }: WatchedCall): boolean {
    return this.#options.clock.nowMs() - lastMessageAtMs >= QUIET_AFTER_MS;
  }

  /**
   * Fails all quiet calls of a replica if it is unlisted and unresponsive. Resolves to the duration of the lookup in the list,
   * in ms. The time until the replica counts as unresponsive does not load an API server.
   */
  async #checkReplica(quietCall: WatchedCall): Promise<number> {
    const { clock, isListed } = this.#options;
    const startedAtMs = clock.nowMs();
    // If no API server responds, the calls go on, as they would without a list.
    const isUnlisted = await isListed(quietCall.target).then(
      (isListedNow) => !isListedNow,
      () => false,
    );
    const lookupMs = clock.nowMs() - startedAtMs;
    if (isUnlisted && (await quietCall.isUnresponsive().catch(() => false))) this.#failQuietCalls(quietCall);
    return lookupMs;
  }

  /** Fails all quiet calls of the replica of a call. */
  #failQuietCalls(quietCall: WatchedCall): void {
    const key = getTargetKey(quietCall.target);
    const message = `${quietCall.target.endpoint}: the replica is no longer listed and does not respond`;
    for (const call of [...this.#calls]) {
      if (getTargetKey(call.target) === key && this.#isQuiet(call))
        call.fail(new AnyserveError('unavailable', message));
    }
  }
}

function getTargetKey({ replicaId, endpoint }: Target): string {
  return JSON.stringify([replicaId, endpoint]);
}
