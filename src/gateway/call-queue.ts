import { BusyError } from '../client/connection-errors.js';
import type { Clock, Random } from '../core/ports.js';

/** Limits of a {@link CallQueue}. */
export interface QueueLimits {
  /** Maximum number of calls that wait. 0: none waits. */
  readonly maxQueuedCalls: number;
  /** Maximum time that a call waits, in ms. */
  readonly queueTimeoutMs: number;
}

/** A call that can wait. */
export interface QueuedCall<T> {
  /** Returns a text for the replicas that the call can go to. Calls with the same text wait in the order of their arrival. */
  getLine(): string;
  /**
   * Makes the call. Calls `onAttempt` when a replica takes it, because the call does not wait any more then. Rejects with a
   * {@link BusyError} if no replica does.
   */
  make(onAttempt: () => void): Promise<T>;
  /** Returns whether {@link make} would reject at once. It is asked often. */
  isBusy(): boolean;
  /** Whether the call can be made again after a replica has refused it. */
  canRepeat(): boolean;
  /** Receives a function that ends the wait. */
  onWait(stop: () => void): void;
}

/** Interval between two checks of whether a replica can take calls, in ms. */
const CHECK_INTERVAL_MS = 20;

/** Maximum addition to the time for which replicas ask not to be called, as a part of it. Otherwise, all would call at once. */
const JITTER = 0.2;

/**
 * Holds calls until a replica can take them, for a limited time. Without it, the calls would fill the queue of an engine, which they
 * can't leave for a replica that is free earlier.
 */
export class CallQueue {
  readonly #limits: QueueLimits;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #lines = new Map<string, Set<Place>>();
  #length = 0;
  #isChecking = false;

  constructor(limits: QueueLimits, clock: Clock, random: Random) {
    this.#limits = limits;
    this.#clock = clock;
    this.#random = random;
  }

  /** Number of calls that wait. */
  get length(): number {
    return this.#length;
  }

  /** Makes a call. If no replica takes it, waits for one. Rejects with a {@link BusyError} if that takes too long. */
  async run<T>(call: QueuedCall<T>): Promise<T> {
    const hasLine = this.#length > 0 && this.#lines.has(call.getLine());
    // If no replica takes calls, an attempt fails at once with the reason. Otherwise, it would overtake those that wait.
    if (hasLine && !call.isBusy()) return this.#runLater(call, createLineError());
    try {
      return await call.make(doNothing);
    } catch (error) {
      return this.#runLater(call, requireBusy(error, call));
    }
  }

  /** Waits for a replica, and then makes a call. */
  async #runLater<T>(call: QueuedCall<T>, reason: BusyError): Promise<T> {
    const waitsUntilMs = this.#clock.nowMs() + this.#limits.queueTimeoutMs;
    let busy = reason;
    let place: Place | undefined;
    try {
      for (;;) {
        if (!place || !this.#lines.get(place.line)?.has(place)) place = this.#enter(call, busy);
        await this.#waitForTurn(place, call, busy, waitsUntilMs);
        try {
          return await call.make(() => place && this.#leave(place));
        } catch (error) {
          busy = requireBusy(error, call);
        }
      }
    } finally {
      if (place) this.#leave(place);
    }
  }

  #enter(call: QueuedCall<unknown>, busy: BusyError): Place {
    if (this.#length >= this.#limits.maxQueuedCalls) throw busy;
    this.#length++;
    const line = call.getLine();
    const place = { line, call, pushBackEndsMs: 0, notBeforeMs: 0, wake: doNothing };
    const places = this.#lines.get(line);
    if (places) places.add(place);
    else this.#lines.set(line, new Set([place]));
    return place;
  }

  #leave(place: Place): void {
    const places = this.#lines.get(place.line);
    if (!places?.delete(place)) return;
    this.#length--;
    if (places.size === 0) this.#lines.delete(place.line);
  }

  /** Waits until the call can be made. Throws the reason why it can't be made in time. */
  async #waitForTurn(place: Place, call: QueuedCall<unknown>, busy: BusyError, untilMs: number): Promise<void> {
    const nowMs = this.#clock.nowMs();
    const isPushBack = busy.retryAfterMs > CHECK_INTERVAL_MS;
    const jitterMs = isPushBack ? busy.retryAfterMs * JITTER * this.#random.fraction() : 0;
    place.pushBackEndsMs = nowMs + busy.retryAfterMs;
    place.notBeforeMs = place.pushBackEndsMs + jitterMs;
    if (nowMs >= untilMs || (isPushBack && nowMs + busy.retryAfterMs > untilMs)) throw busy;
    const cancelTimeout = this.#clock.schedule(untilMs - nowMs, () => place.wake());
    const isStopped = await new Promise<boolean>((resolve) => {
      place.wake = () => resolve(false);
      call.onWait(() => resolve(true));
      this.#check();
    });
    cancelTimeout();
    if (isStopped || this.#clock.nowMs() >= untilMs) throw busy;
  }

  /** Wakes the calls that can be made, in the order of each line. */
  #check(): void {
    if (this.#isChecking) return;
    this.#isChecking = true;
    this.#clock.schedule(CHECK_INTERVAL_MS, () => {
      this.#isChecking = false;
      const nowMs = this.#clock.nowMs();
      for (const places of this.#lines.values())
        for (const place of places) if (!isInJitter(place, nowMs) && !place.call.isBusy()) place.wake();
      if (this.#length > 0) this.#check();
    });
  }
}

/** The place of a call in a line. */
interface Place {
  readonly line: string;
  readonly call: Pick<QueuedCall<unknown>, 'isBusy'>;
  /** Time at which the replicas that asked not to be called can be called again. */
  pushBackEndsMs: number;
  notBeforeMs: number;
  wake: () => void;
}

/**
 * Returns whether a call waits for its random part of the time after a push-back. A replica that is free earlier is another one, so the call
 * need not wait for it.
 */
function isInJitter({ pushBackEndsMs, notBeforeMs }: Place, nowMs: number): boolean {
  return pushBackEndsMs <= nowMs && nowMs < notBeforeMs;
}

/** Returns the reason why no replica takes a call. Throws any other error, and that of a call that can't be made again. */
function requireBusy(error: unknown, call: Pick<QueuedCall<unknown>, 'canRepeat'>): BusyError {
  if (error instanceof BusyError && call.canRepeat()) return error;
  throw error;
}

function doNothing(): void {}

/** Creates the reason to wait of a call that arrives while others wait. */
function createLineError(): BusyError {
  return new BusyError('unavailable', 'other calls wait for the same replicas', 0);
}
