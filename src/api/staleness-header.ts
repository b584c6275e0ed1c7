import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';

/**
 * Response header of a server that shares its registry with others: how old its copy of their registrations can be, in ms,
 * rounded up. `unknown` until the server has a first complete list.
 */
export const STALENESS_HEADER = 'x-anyserve-staleness-ms';

/** Request header: the server must refuse the request (503) if its copy can be older than this, in ms. */
export const MAX_STALENESS_HEADER = 'x-anyserve-max-staleness-ms';

/** Formats the value of {@link STALENESS_HEADER}. Infinity is `unknown`. */
export function formatStaleness(stalenessMs: number): string {
  return stalenessMs === Number.POSITIVE_INFINITY ? 'unknown' : String(Math.ceil(stalenessMs));
}

/** Parses the values of {@link MAX_STALENESS_HEADER}. Undefined if there are none. Throws `usage`. */
export function parseMaxStaleness(values: readonly string[]): number | undefined {
  if (values.length === 0) return undefined;
  const text = values.join();
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new AnyserveError(
    'usage',
    `${MAX_STALENESS_HEADER}: ${quote(text)} is not a whole number of milliseconds; give one, such as 5000`,
  );
}
