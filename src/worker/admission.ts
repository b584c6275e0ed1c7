import { AnyserveError } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';

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

/** Limits of an {@link Admission}. */
export interface AdmissionLimits {
  /** Maximum number of calls that run at once. */
  readonly maxConcurrency: number;
  /** Maximum number of calls that wait for a slot. */
  readonly maxQueue: number;
}

/** Creates an admission control whose slots are all free. Waiting calls get a slot in the order of their arrival. */
export function createAdmission(limits: AdmissionLimits): Admission {
  return new SlotAdmission(limits);
}

class SlotAdmission implements Admission {
  readonly load: { running: number; waiting: number; readonly limit: number };
  readonly #limits: AdmissionLimits;
  readonly #waiting = new Set<() => void>();

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
    this.load = { running: 0, waiting: 0, limit: limits.maxConcurrency };
  }

  async acquire(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const { maxConcurrency, maxQueue } = this.#limits;
    if (this.load.running < maxConcurrency) return this.#occupySlot();
    if (this.#waiting.size >= maxQueue) {
      const limits = `--max-concurrency ${maxConcurrency}, --max-queue ${maxQueue}`;
      throw new AnyserveError('resource_exhausted', `the worker is busy and its queue is full (${limits})`);
    }
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
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#release();
    };
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
