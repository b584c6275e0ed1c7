import type { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { type ListElement, UnorderedList } from '../core/unordered-list.js';
import { BrokenConnectionError } from './connection-errors.js';
import type { Discovery, Target } from './discovery.js';

/** A call in progress at a replica. */
export interface WatchedCall extends ListElement {
  readonly target: Target;
  /** Time of the replica's last message for this call, as `nowMs` of the clock. Initially the start of the call. */
  readonly lastMessageAtMs: number;
  /** Returns whether the replica doesn't respond on a new connection either. */
  isUnresponsive(): Promise<boolean>;
  /** Ends the attempt with an error. Another replica can be tried. */
  fail(error: AnyserveError): void;
}

/** Options of a {@link QuietCallWatch}. */
export interface QuietCallWatchOptions {
  readonly clock: Clock;
  /** Returns whether a replica is in the list. Rejects if no API server responds. */
  readonly isListed: (target: Target) => Promise<boolean>;
  /** Returns whether another replica can take the calls of a replica. */
  readonly hasOther: (target: Target) => boolean;
}

/** Time without a message after which a call is quiet and its replica is looked up in the list, in ms. */
const QUIET_AFTER_MS = 5000;

/** Interval between two checks of the replicas of quiet calls, in ms. */
const CHECK_INTERVAL_MS = 1000;

/**
 * Time without a message after which a listed replica must respond on a new connection, in ms. Together with a check interval
 * and {@link PROBES} of 2 s, a frozen replica loses its calls within 15 s.
 */
const SILENT_AFTER_MS = 9000;

/** Number of attempts at a new connection that must fail. One can fail by chance, and the replica is listed. */
const PROBES = 2;

/** Minimum wait after a lookup, as a multiple of its duration: a server that can only list all replicas is asked less often. */
const WAIT_PER_LOOKUP_DURATION = 20;

/**
 * Fails calls in progress at a replica that is frozen or whose host is gone. Its connections stay open. Such a replica leaves
 * the list within seconds, so a quiet call is looked up there. A replica that drains leaves the list too, and one can leave by
 * mistake, so a call fails only if its replica also doesn't respond on a new connection. While no API server responds, or the
 * replica stays listed, calls that are silent for longer get such a connection too. Without another replica, they are left alone: a server that is
 * busy with a call can be unable to respond to others.
 */
export class QuietCallWatch {
  readonly #options: QuietCallWatchOptions;
  readonly #calls = new UnorderedList<WatchedCall>();
  #cancelTimer: (() => void) | undefined;
  /** Keys of the replicas that are being checked. */
  readonly #checking = new Set<string>();
  /** Earliest time of the next lookup in the list. */
  #nextLookupAtMs = Number.NEGATIVE_INFINITY;
  /** When each replica last responded on a new connection. */
  readonly #respondedAtMs = new Map<string, number>();

  constructor(options: QuietCallWatchOptions) {
    this.#options = options;
  }

  add(call: WatchedCall): void {
    this.#calls.add(call);
    if (!this.#cancelTimer) this.#scheduleCheck(QUIET_AFTER_MS);
  }

  delete(call: WatchedCall): void {
    this.#calls.delete(call);
    if (this.#calls.size > 0) return;
    this.#respondedAtMs.clear();
    // Without calls, a timer would only keep the process alive.
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  #scheduleCheck(delayMs: number): void {
    this.#cancelTimer = this.#options.clock.schedule(delayMs, () => {
      this.#cancelTimer = undefined;
      this.#check();
    });
  }

  /** Starts a check of each replica with a quiet call, unless one is in progress. */
  #check(): void {
    const quietCalls = new Map<string, WatchedCall>();
    for (const call of this.#calls) {
      const key = getTargetKey(call.target);
      const longest = quietCalls.get(key);
      if (this.#isQuiet(call) && !(longest && longest.lastMessageAtMs <= call.lastMessageAtMs))
        quietCalls.set(key, call);
    }
    for (const [key, call] of quietCalls) {
      if (this.#checking.has(key)) continue;
      this.#checking.add(key);
      void this.#checkReplica(call).finally(() => this.#checking.delete(key));
    }
    if (this.#calls.size > 0) this.#scheduleCheck(CHECK_INTERVAL_MS);
  }

  #isQuiet({ lastMessageAtMs }: WatchedCall): boolean {
    return this.#options.clock.nowMs() - lastMessageAtMs >= QUIET_AFTER_MS;
  }

  /** Fails all quiet calls of a replica that is unlisted or silent, and doesn't respond on a new connection. */
  async #checkReplica(quietCall: WatchedCall): Promise<void> {
    if (await this.#isUnlisted(quietCall.target)) {
      if (await quietCall.isUnresponsive().catch(() => false))
        this.#failQuietCalls(quietCall, 'the replica is no longer listed and does not respond');
    } else if (this.#isSilent(quietCall) && this.#options.hasOther(quietCall.target)) {
      await this.#checkSilentReplica(quietCall);
    }
  }

  /**
   * Returns whether a replica is known to be unlisted. If no API server responds, the calls go on, as they would without a list.
   * After a lookup that took long, waits for longer before the next one.
   */
  async #isUnlisted(target: Target): Promise<boolean> {
    const { clock, isListed } = this.#options;
    const startedAtMs = clock.nowMs();
    if (startedAtMs < this.#nextLookupAtMs) return false;
    const isUnlisted = await isListed(target).then(
      (isListedNow) => !isListedNow,
      () => false,
    );
    const nowMs = clock.nowMs();
    this.#nextLookupAtMs = Math.max(this.#nextLookupAtMs, nowMs + (nowMs - startedAtMs) * WAIT_PER_LOOKUP_DURATION);
    return isUnlisted;
  }

  /** Whether a call is silent, and its replica has not responded on a new connection either for as long. */
  #isSilent({ target, lastMessageAtMs }: WatchedCall): boolean {
    const respondedAtMs = this.#respondedAtMs.get(getTargetKey(target)) ?? Number.NEGATIVE_INFINITY;
    return this.#options.clock.nowMs() - Math.max(lastMessageAtMs, respondedAtMs) >= SILENT_AFTER_MS;
  }

  async #checkSilentReplica(silentCall: WatchedCall): Promise<void> {
    for (let probe = 0; probe < PROBES; probe++) {
      if (await silentCall.isUnresponsive().catch(() => false)) continue;
      this.#respondedAtMs.set(getTargetKey(silentCall.target), this.#options.clock.nowMs());
      return;
    }
    this.#failQuietCalls(silentCall, 'the replica does not respond, nor on a new connection');
  }

  /** Fails all quiet calls of the replica of a call. */
  #failQuietCalls({ target }: WatchedCall, reason: string): void {
    const key = getTargetKey(target);
    for (const call of this.#calls) {
      if (getTargetKey(call.target) !== key || !this.#isQuiet(call)) continue;
      call.fail(new BrokenConnectionError('unavailable', `${target.endpoint}: ${reason}`));
    }
  }
}

/** Creates the watch over the calls to the targets of a discovery. The signal ends its requests. */
export function watchQuietCalls(discovery: Discovery, clock: Clock, signal: AbortSignal): QuietCallWatch {
  return new QuietCallWatch({
    clock,
    isListed: (target) => discovery.isListed(target, signal),
    hasOther: (target) => discovery.hasHealthyOther(target),
  });
}

function getTargetKey({ replicaId, endpoint }: Target): string {
  return JSON.stringify([replicaId, endpoint]);
}
