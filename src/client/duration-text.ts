/** A time in the largest unit that fits, as options take it: `500ms`, `60s`. */
export function durationText(ms: number): string {
  return ms % 1000 === 0 && ms > 0 ? `${ms / 1000}s` : `${Math.round(ms)}ms`;
}

/** The message of a call that took too long. */
export function noAnswerWithin(timeoutMs: number): string {
  return `no answer within ${durationText(timeoutMs)}; --timeout (timeoutMs) sets the limit`;
}
