import { AnyserveError } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';

/** Admission control: limits how many calls run at once and how many wait, and rejects the rest immediately. */
export interface Admission {
  /** The calls that run and wait. It always has the current numbers. */
  readonly load: ReplicaLoad;
  /**
   * Waits for a slot and resolves to a function that releases it. Rejects immediately with `resource_exhausted` if the
   * queue is full, and with the signal's reason if the signal is aborted while the call waits.
   */
  acquire(signal: AbortSignal): Promise<() => void>;
}

/** Error of a call that is rejected because the queue is full. */
export class QueueFullError extends AnyserveError {
  /** Time after which there will probably be room, in ms. Undefined if it isn't known, or is so short that waiting costs more. */
  readonly pushBackMs: number | undefined;

  constructor({ maxConcurrency, maxQueue }: AdmissionLimits, pushBackMs: number | undefined) {
    const limits = `--max-concurrency ${maxConcurrency}, --max-queue ${maxQueue}`;
    super('resource_exhausted', `the worker is busy and its queue is full (${limits})`);
    this.pushBackMs = pushBackMs;
  }
}

/** Weight of the newest call in the average time that calls run. */
const NEWEST_WEIGHT = 0.1;

/** Minimum and maximum push-back, in ms. During a shorter one, the queue could run empty before the callers are back. */
const MIN_PUSH_BACK_MS = 100;
const MAX_PUSH_BACK_MS = 10_000;

/** Limits of an {@link Admission}. */
export interface AdmissionLimits {
  /** Maximum number of calls that run at once. */
  readonly maxConcurrency: number;
  /** Maximum number of calls that wait for a slot. */
  readonly maxQueue: number;
}

/**
 * Creates an admission control whose slots are all free. Waiting calls get a slot in the order of their arrival. Without a clock, the
 * errors of a full queue have no push-back.
 */
export function createAdmission(limits: AdmissionLimits, clock?: Clock): Admission {
  return new SlotAdmission(limits, clock);
}

class SlotAdmission implements Admission {
  readonly load: { running: number; waiting: number; readonly limit: number };
  readonly #limits: AdmissionLimits;
  readonly #clock: Clock | undefined;
  readonly #waiting = new Set<() => void>();
  /** Average time that calls run, in ms. Undefined before the first one has ended. */
  #averageRunMs: number | undefined;

  constructor(limits: AdmissionLimits, clock: Clock | undefined) {
    this.#limits = limits;
    this.#clock = clock;
    this.load = { running: 0, waiting: 0, limit: limits.maxConcurrency };
  }

  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const { maxConcurrency, maxQueue } = this.#limits;
    if (this.load.running < maxConcurrency) return this.#occupySlot();
    if (this.#waiting.size >= maxQueue) throw new QueueFullError(this.#limits, this.#computePushBackMs());
    return new Promise((resolve, reject) => {
      const proceed = (): void => {
        signal.removeEventListener('abort', stopWaiting);
        resolve(this.#occupySlot());
      };
      const stopWaiting = (): void => {
        this.#removeWaiting(proceed);
        reject(signal.reason);
      };
      this.#waiting.add(proceed);
      this.load.waiting = this.#waiting.size;
      signal.addEventListener('abort', stopWaiting, { once: true });
    });
  }

  #occupySlot(): () => void {
    this.load.running++;
    const startedAtMs = this.#clock?.nowMs() ?? 0;
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      if (this.#clock) this.#recordRun(this.#clock.nowMs() - startedAtMs);
      this.#release();
    };
  }

  #recordRun(runMs: number): void {
    this.#averageRunMs = (this.#averageRunMs ?? runMs) * (1 - NEWEST_WEIGHT) + runMs * NEWEST_WEIGHT;
  }

  /** Returns the time in which half of the full queue is done. Then there is room for several calls, and no slot was idle. */
  #computePushBackMs(): number | undefined {
    const { maxConcurrency, maxQueue } = this.#limits;
    const pushBackMs = ((this.#averageRunMs ?? 0) / maxConcurrency) * (maxQueue / 2);
    return pushBackMs < MIN_PUSH_BACK_MS ? undefined : Math.round(Math.min(pushBackMs, MAX_PUSH_BACK_MS));
  }

  #release(): void {
    this.load.running--;
    const [next] = this.#waiting;
    if (!next) return;
    this.#removeWaiting(next);
    next();
  }

  #removeWaiting(call: () => void): void {
    this.#waiting.delete(call);
    this.load.waiting = this.#waiting.size;
  }
}
