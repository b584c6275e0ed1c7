import type { Clock } from './ports.js';

/** Time between two calls of a polled getter, in ms. */
const GETTER_POLL_INTERVAL_MS = 1000;

/**
 * Polls a getter every second and calls `onChange` with each new value. For consumers that must be notified, such as
 * TLS servers; others call the getter whenever they need the value. Returns a function that stops polling.
 */
export function pollChanges<T>(getValue: () => T, clock: Clock, onChange: (value: T) => void): () => void {
  let lastValue = getValue();
  let cancel = clock.schedule(GETTER_POLL_INTERVAL_MS, poll);
  function poll(): void {
    cancel = clock.schedule(GETTER_POLL_INTERVAL_MS, poll);
    const value = getValue();
    if (value === lastValue) return;
    lastValue = value;
    onChange(value);
  }
  return () => cancel();
}
