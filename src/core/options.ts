import { AnyserveError } from './errors.js';
import { formatOptionValue } from './option-types.js';

/** Maximum delay of a Node.js timer, in ms: about 24 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

type Options = Readonly<Record<string, number | undefined>>;

/** Checks options that are times in ms. Throws `usage` with the option's name unless each is from `minMs` to {@link MAX_TIMER_MS}. */
export function checkTimes(times: Options, minMs = 0): void {
  for (const [name, ms] of Object.entries(times)) {
    const isTime = typeof ms === 'number' && ms >= minMs && ms <= MAX_TIMER_MS;
    if (ms !== undefined && !isTime) throw createRangeError(name, ms, `a time from ${minMs} to ${MAX_TIMER_MS} ms`);
  }
}

/** Checks the timeout of a call, which can be longer than a timer: the call caps it. Throws `usage` as {@link checkTimes} does. */
export function checkCallTimeout(timeoutMs: number | undefined): void {
  checkTimes({ timeoutMs: typeof timeoutMs === 'number' && timeoutMs > MAX_TIMER_MS ? MAX_TIMER_MS : timeoutMs });
}

/** Checks options that are counts or sizes. Throws `usage` with the option's name unless each is an integer from `min` to `max`. */
export function checkCounts(counts: Options, min: number, max = Number.MAX_SAFE_INTEGER): void {
  for (const [name, count] of Object.entries(counts)) {
    const isCount = Number.isSafeInteger(count) && (count as number) >= min && (count as number) <= max;
    if (count !== undefined && !isCount) throw createRangeError(name, count, `an integer from ${min} to ${max}`);
  }
}

function createRangeError(name: string, value: unknown, expected: string): AnyserveError {
  return new AnyserveError('usage', `option ${name}: ${formatOptionValue(value)} is not ${expected}`);
}

/** A value, or a function that returns the current value if it can change at runtime. */
export type ValueOrGetter<T> = T | (() => T);

/** Converts a value or getter to a getter; undefined stays undefined. */
export function toGetter<T extends object | string>(value: ValueOrGetter<T> | undefined): (() => T) | undefined {
  if (value === undefined || typeof value === 'function') return value as (() => T) | undefined;
  return () => value;
}

/** A bearer token for all API servers, or a function that returns the current one for the server with this URL. */
export type ServerToken = string | ((serverUrl: string) => string | undefined);

/** Converts a token for API servers to a getter; undefined stays undefined. */
export function toTokenGetter(token: ServerToken | undefined): ((serverUrl: string) => string | undefined) | undefined {
  return typeof token === 'string' ? () => token : token;
}
