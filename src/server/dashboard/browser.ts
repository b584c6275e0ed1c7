import type { Clock, Random } from '../../core/ports.js';

/*
 * The only file of the dashboard that reads the browser's clocks, randomness and storage.
 */

/** Key of the token in the session storage, which the browser forgets with the tab. */
const TOKEN_KEY = 'anyserve-token';

/** The browser's clock. */
export const browserClock: Clock = {
  nowMs: () => performance.now(),
  epochMs: () => Date.now(),
  schedule(delayMs, task) {
    const timer = setTimeout(task, delayMs);
    return () => clearTimeout(timer);
  },
};

/** The browser's random numbers. */
export const browserRandom: Random = { fraction: () => Math.random() };

/** Returns the token of this tab. Empty if there is none. */
export function readToken(): string {
  return sessionStorage.getItem(TOKEN_KEY) ?? '';
}

/** Keeps the token for this tab. An empty one removes it. */
export function saveToken(token: string): void {
  if (token === '') sessionStorage.removeItem(TOKEN_KEY);
  else sessionStorage.setItem(TOKEN_KEY, token);
}

/** Formats a time of today as `14:03:07`, and another one as `2026-11-28 14:03:07`, in the reader's time zone. */
export function formatTime(epochMs: number): string {
  const date = new Date(epochMs);
  const pad = (number: number): string => String(number).padStart(2, '0');
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map(pad).join(':');
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${time}`;
}

/** Formats a moment for programs and for the whole text of a time. */
export function formatExactTime(epochMs: number): string {
  return new Date(epochMs).toISOString();
}
