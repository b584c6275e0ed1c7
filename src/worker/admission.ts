import { AnyserveError } from '../core/errors.js';

/** Lets so many calls run at once, and so many wait; the rest is turned away without waiting. */
export interface Admission {
  /**
   * Waits for a place; the returned function gives it up again. Rejects with `resource_exhausted` at once when the
   * queue is full, with the signal's reason when the caller goes while it waits.
   */
  enter(signal: AbortSignal): Promise<() => void>;
}

/** What bounds an admission: places, and places in the queue before them. */
export interface AdmissionLimits {
  readonly maxConcurrency: number;
  readonly maxQueue: number;
}

/** An admission with all its places free. First come, first served. */
export function createAdmission({ maxConcurrency, maxQueue }: AdmissionLimits): Admission {
  let running = 0;
  const waiting = new Set<() => void>();

  function leave(): void {
    running--;
    const [next] = waiting;
    if (!next) return;
    waiting.delete(next);
    next();
  }

  function enter(): () => void {
    running++;
    let hasLeft = false;
    return () => {
      if (hasLeft) return;
      hasLeft = true;
      leave();
    };
  }

  return {
    async enter(signal) {
      signal.throwIfAborted();
      if (running < maxConcurrency) return enter();
      if (waiting.size >= maxQueue) {
        const limits = `${maxConcurrency} calls run and ${maxQueue} wait, which is all that --max-concurrency and --max-queue allow`;
        throw new AnyserveError('resource_exhausted', limits);
      }
      return new Promise((resolve, reject) => {
        const proceed = (): void => {
          signal.removeEventListener('abort', giveUp);
          resolve(enter());
        };
        const giveUp = (): void => {
          waiting.delete(proceed);
          reject(signal.reason);
        };
        waiting.add(proceed);
        signal.addEventListener('abort', giveUp, { once: true });
      });
    },
  };
}
