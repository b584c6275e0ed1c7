import { AnyserveError } from '../core/errors.js';

/** Admission control: limits how many calls run at once and how many wait, and rejects the rest immediately. */
export interface Admission {
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
export function createAdmission({ maxConcurrency, maxQueue }: AdmissionLimits): Admission {
  let running = 0;
  const waiting = new Set<() => void>();

  function release(): void {
    running--;
    const [next] = waiting;
    if (!next) return;
    waiting.delete(next);
    next();
  }

  function occupySlot(): () => void {
    running++;
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      release();
    };
  }

  return {
    async acquire(signal) {
      signal.throwIfAborted();
      if (running < maxConcurrency) return occupySlot();
      if (waiting.size >= maxQueue) {
        const limits = `--max-concurrency ${maxConcurrency}, --max-queue ${maxQueue}`;
        throw new AnyserveError('resource_exhausted', `the worker is busy and its queue is full (${limits})`);
      }
      return new Promise((resolve, reject) => {
        const proceed = (): void => {
          signal.removeEventListener('abort', stopWaiting);
          resolve(occupySlot());
        };
        const stopWaiting = (): void => {
          waiting.delete(proceed);
          reject(signal.reason);
        };
        waiting.add(proceed);
        signal.addEventListener('abort', stopWaiting, { once: true });
      });
    },
  };
}
