import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { Target } from './discovery.js';

/** A call under way at a replica. */
export interface WatchedCall {
  readonly target: Target;
  /** When the replica was last heard of, on the clock's `nowMs`. */
  readonly heardAtMs: number;
  /** Whether the replica does not answer on a new connection either. */
  isSilent(): Promise<boolean>;
  /** Ends the attempt; another replica may be tried. */
  fail(error: AnyserveError): void;
}

/** What the watch needs. */
export interface ListingWatchOptions {
  readonly clock: Clock;
  /** Whether a replica is in the list; rejects when nobody can say. */
  readonly isListed: (target: Target) => Promise<boolean>;
}

/** A replica that was heard of within this time is not asked after. */
const QUIET_AFTER_MS = 5000;

/** How often the list is asked while there are quiet calls. */
const LOOK_EVERY_MS = 2000;

/** The looks take at most one part in so many of the time: a server that can only list all replicas is asked less often. */
const LOOKS_SHARE = 20;

/**
 * Fails calls under way at a replica that froze, or whose host is gone: such a replica leaves the list within seconds, but
 * its connections stay open. A replica that finishes its calls leaves the list, too, so being unlisted is not enough: it
 * must not answer on a new connection either. Where the list cannot be asked, nothing is failed.
 */
export class ListingWatch {
  readonly #options: ListingWatchOptions;
  readonly #calls = new Set<WatchedCall>();
  #cancelLook: (() => void) | undefined;
  #isLooking = false;

  constructor(options: ListingWatchOptions) {
    this.#options = options;
  }

  add(call: WatchedCall): void {
    this.#calls.add(call);
    if (!this.#cancelLook && !this.#isLooking) this.#lookIn(QUIET_AFTER_MS);
  }

  delete(call: WatchedCall): void {
    this.#calls.delete(call);
    if (this.#calls.size > 0) return;
    // A timer would keep a process alive that has no call any more.
    this.#cancelLook?.();
    this.#cancelLook = undefined;
  }

  #lookIn(delayMs: number): void {
    this.#cancelLook = this.#options.clock.schedule(delayMs, () => {
      this.#cancelLook = undefined;
      void this.#look();
    });
  }

  async #look(): Promise<void> {
    const { clock } = this.#options;
    const startedAtMs = clock.nowMs();
    this.#isLooking = true;
    const quiet = new Map<string, WatchedCall>();
    for (const call of this.#calls) if (this.#isQuiet(call)) quiet.set(keyOf(call.target), call);
    await Promise.all([...quiet.values()].map((call) => this.#lookAfter(call)));
    this.#isLooking = false;
    const tookMs = clock.nowMs() - startedAtMs;
    if (this.#calls.size > 0) this.#lookIn(Math.max(LOOK_EVERY_MS, tookMs * LOOKS_SHARE));
  }

  #isQuiet({ heardAtMs }: WatchedCall): boolean {
    return this.#options.clock.nowMs() - heardAtMs >= QUIET_AFTER_MS;
  }

  async #lookAfter(one: WatchedCall): Promise<void> {
    try {
      if (await this.#options.isListed(one.target)) return;
      if (!(await one.isSilent())) return;
    } catch {
      // The API servers cannot be asked: the calls go on, as they would without any.
      return;
    }
    const message = `${one.target.endpoint}: it left the list of replicas, and does not answer any more`;
    for (const call of [...this.#calls]) {
      const isThere = keyOf(call.target) === keyOf(one.target) && this.#isQuiet(call);
      if (isThere) call.fail(new AnyserveError('unavailable', message));
    }
  }
}

function keyOf({ replicaId, endpoint }: Target): string {
  return JSON.stringify([replicaId, endpoint]);
}
