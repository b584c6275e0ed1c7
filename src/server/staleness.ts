import { formatStaleness, parseMaxStaleness, STALENESS_HEADER } from '../api/staleness-header.js';
import { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { Registry } from '../core/registry.js';
import { parseHeader } from './routing-headers.js';

/** The part of a registry that knows how old its copy is. */
export type StaleRegistry = Pick<Registry, 'stalenessMs'>;

/** Returns the headers that say how old the server's copy of a shared registry can be. None for one that isn't shared. */
export function createStalenessHeaders({ stalenessMs }: StaleRegistry): Readonly<Record<string, string>> {
  return stalenessMs === undefined ? {} : { [STALENESS_HEADER]: formatStaleness(stalenessMs) };
}

/** Time for which a staleness is used again, in ms. */
const STALENESS_STEP_MS = 50;

/**
 * Creates a function that formats the staleness; undefined for a registry that isn't shared. A busy server reads the clock and formats
 * the value only once in 50 ms, because that takes 4 % of the time of a route request. Requests in these 50 ms get the staleness of
 * their end, so it is never too low.
 */
export function createStalenessReader(registry: StaleRegistry, clock: Clock): () => string | undefined {
  let present: string | undefined;
  const forget = (): void => {
    present = undefined;
  };
  return () => {
    if (present !== undefined) return present;
    const { stalenessMs } = registry;
    if (stalenessMs === undefined) return undefined;
    present = formatStaleness(stalenessMs + STALENESS_STEP_MS);
    clock.schedule(STALENESS_STEP_MS, forget, { background: true });
    return formatStaleness(stalenessMs);
  };
}

/**
 * Returns why a request must be refused, given the maximum staleness in its headers. Undefined if it need not: a registry
 * that isn't shared is never stale.
 */
export function findStalenessRefusal(
  { stalenessMs = 0 }: StaleRegistry,
  values: readonly string[],
): AnyserveError | undefined {
  const maximum = parseHeader(() => parseMaxStaleness(values));
  if (maximum instanceof AnyserveError) return maximum;
  if (maximum === undefined || stalenessMs <= maximum) return undefined;
  const age = stalenessMs === Number.POSITIVE_INFINITY ? 'not complete yet' : `${formatStaleness(stalenessMs)} ms old`;
  const detail = `the registrations that this API server knows of other servers are ${age}; the request allows ${maximum} ms`;
  return new AnyserveError('unavailable', detail);
}
