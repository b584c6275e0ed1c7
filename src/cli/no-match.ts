import type { ApiClient } from '../client/api-client.js';
import { WARMING_PAUSE_MS } from '../client/attempts.js';
import { queryText } from '../client/discovery.js';
import { sleep } from '../client/sleep.js';
import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { clock } from '../system.js';

/** The failure of a query that nothing matches, with how many replicas there are and how to see them. */
export function noMatchAmong(queries: readonly CapabilityQuery[], registered: number | undefined): AnyserveError {
  const asked = queries.map(queryText).join(' or ');
  return new AnyserveError('no_match', `no replica offers ${asked}${advice(registered)}`);
}

/** Until when a miss is worth another try. */
export interface Patience {
  readonly giveUpAtMs: number;
  readonly signal: AbortSignal;
}

/**
 * Whether a miss may pass, because the API server has just started and replicas are on their way back to it; then
 * resolves after a pause, when it is time for another try.
 */
export async function mayPass(
  [query = []]: readonly CapabilityQuery[],
  api: ApiClient,
  { giveUpAtMs, signal }: Patience,
): Promise<boolean> {
  if (clock.nowMs() + WARMING_PAUSE_MS > giveUpAtMs) return false;
  const answer = await api.route(query, [], { signal });
  if (answer.kind === 'found') return true;
  if (answer.isWarming) await sleep(clock, WARMING_PAUSE_MS, signal);
  signal.throwIfAborted();
  return answer.isWarming;
}

/** How many replicas are registered; undefined when that cannot be asked. */
export async function countReplicas(api: ApiClient, signal: AbortSignal): Promise<number | undefined> {
  try {
    return (await api.replicas({ signal })).length;
  } catch {
    return undefined;
  }
}

function advice(registered: number | undefined): string {
  if (registered === undefined) return '';
  if (registered === 0) return '; none is registered';
  if (registered === 1) return '; 1 is registered, see it with "anyserve registry"';
  return `; ${registered} are registered, list them with "anyserve registry"`;
}
