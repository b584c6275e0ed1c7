const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
] as const;

/** Formats a duration in its largest unit, rounded down: `3s`, `5m`, `2h`, `9d`. */
export function formatAge(ms: number): string {
  const [unit, size] = UNITS.find(([, unitMs]) => ms >= unitMs) ?? ['s', 1000];
  return `${Math.floor(ms / size)}${unit}`;
}

/** Formats a duration in the form that options accept: `500ms`, `60s`. */
export function formatDuration(ms: number): string {
  return ms % 1000 === 0 && ms > 0 ? `${ms / 1000}s` : `${Math.round(ms)}ms`;
}

/** Formats a duration in seconds, such as `0.4 s`. */
export function formatSeconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

/** Returns the error message of a call that timed out. */
export function describeTimeout(timeoutMs: number): string {
  return `no response within ${formatDuration(timeoutMs)}; raise the limit with --timeout (timeoutMs)`;
}
