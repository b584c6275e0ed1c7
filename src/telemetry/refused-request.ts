import type { Clock, Log, LogDetails } from '../core/ports.js';
import { LineLimits } from './line-limits.js';

/** A request that a gateway has refused before it became a call of a model. It has no header and no query string. */
export interface RefusedRequest {
  readonly method: string;
  /** Path of the request target, truncated. */
  readonly path: string;
  readonly status: number;
  /** Message of the response. */
  readonly reason: string;
  /** Address of the caller. */
  readonly host: string | undefined;
  /** Name of the caller's key. Undefined if the key is unknown, and without keys. */
  readonly caller: string | undefined;
}

/**
 * Creates a function that writes a line for each refused request. Anyone can cause these lines, so each status has a limit: requests
 * for unknown paths don't hide those with unknown keys.
 */
export function createRefusalLog(
  log: Log,
  clock: Pick<Clock, 'nowMs' | 'schedule'>,
): (refused: RefusedRequest) => void {
  const limits = new LineLimits(log, clock);
  return (refused) => limits.getLog(String(refused.status)).warn(formatRefusal(refused), describeRefusal(refused));
}

function formatRefusal({
  method,
  path,
  status,
  reason,
  host = 'a caller that has left',
  caller,
}: RefusedRequest): string {
  const key = caller === undefined ? '' : `, key ${caller}`;
  return `refused ${method} ${path} from ${host}${key}: ${status}, ${reason}`;
}

function describeRefusal({ method, path, status, reason, host, caller }: RefusedRequest): LogDetails {
  return { event: 'request_refused', method, path, status, reason, host, key: caller };
}
