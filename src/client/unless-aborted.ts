/** What is awaited, unless the signal is aborted first: then rejects with the signal's reason, at once. */
export function unlessAborted<T>(awaited: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return awaited;
  return new Promise((resolve, reject) => {
    const end = (): void => reject(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener('abort', end, { once: true });
    awaited.then(resolve, reject).finally(() => signal.removeEventListener('abort', end));
  });
}
