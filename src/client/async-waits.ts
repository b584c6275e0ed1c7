import type { Writable } from 'node:stream';
import type { Clock } from '../core/ports.js';

/**
 * Waits for the delay, or until the signal is aborted. Resolves in both cases. A background wait does not keep the process
 * alive.
 */
export function sleep(
  clock: Clock,
  delayMs: number,
  signal?: AbortSignal,
  options?: { readonly background?: boolean },
): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const wake = (): void => {
      cancel();
      signal?.removeEventListener('abort', wake);
      resolve();
    };
    const cancel = clock.schedule(delayMs, wake, options);
    signal?.addEventListener('abort', wake, { once: true });
  });
}

/** Waits until a slow reader has drained a stream, or until the signal is aborted. Resolves in both cases. */
export function waitForDrain(stream: Pick<Writable, 'once' | 'removeListener'>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const proceed = (): void => {
      stream.removeListener('drain', proceed);
      signal.removeEventListener('abort', proceed);
      resolve();
    };
    stream.once('drain', proceed);
    signal.addEventListener('abort', proceed, { once: true });
    if (signal.aborted) proceed();
  });
}

/** Waits for a promise. Rejects with the signal's reason as soon as the signal is aborted. */
export function raceWithAbort<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
