const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
] as const;

/** A span of time in its largest unit: `3s`, `5m`, `2h`, `9d`. */
export function formatAge(ms: number): string {
  const [unit, size] = UNITS.find(([, unitMs]) => ms >= unitMs) ?? ['s', 1000];
  return `${Math.floor(ms / size)}${unit}`;
}

/** Writes a duration in the form options take it: `500ms`, `60s`. */
export function formatDuration(ms: number): string {
  return ms % 1000 === 0 && ms > 0 ? `${ms / 1000}s` : `${Math.round(ms)}ms`;
}

/** Returns the message of a call that took too long. */
export function describeTimeout(timeoutMs: number): string {
  return `no answer within ${formatDuration(timeoutMs)}; --timeout (timeoutMs) sets the limit`;
}
