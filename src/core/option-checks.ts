import { AnyserveError } from './errors.js';

/** Longest time that a timer can hold, in ms: about 24 days. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

type Options = Readonly<Record<string, number | undefined>>;

/** Checks times in ms. Throws `usage` with the option's name unless each is from `leastMs` to {@link MAX_TIMER_MS}. */
export function checkTimes(times: Options, leastMs = 0): void {
  for (const [name, ms] of Object.entries(times)) {
    const isTime = typeof ms === 'number' && ms >= leastMs && ms <= MAX_TIMER_MS;
    if (ms !== undefined && !isTime) throw refusal(name, ms, `a time from ${leastMs} to ${MAX_TIMER_MS} ms`);
  }
}

/** Checks counts and sizes. Throws `usage` with the option's name unless each is an integer from `least` to `most`. */
export function checkCounts(counts: Options, least: number, most = Number.MAX_SAFE_INTEGER): void {
  for (const [name, count] of Object.entries(counts)) {
    const isCount = Number.isSafeInteger(count) && (count as number) >= least && (count as number) <= most;
    if (count !== undefined && !isCount) throw refusal(name, count, `an integer from ${least} to ${most}`);
  }
}

function refusal(name: string, value: unknown, wanted: string): AnyserveError {
  return new AnyserveError('usage', `option ${name}: ${String(value)} is not ${wanted}`);
}
