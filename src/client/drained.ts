import type { Writable } from 'node:stream';

/** Resolves when a slow reader has taken what was written to a stream, or when the signal says that it never will. */
export function drained(stream: Pick<Writable, 'once' | 'removeListener'>, signal: AbortSignal): Promise<void> {
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
