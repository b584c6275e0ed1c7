import type { ApiClient } from '../client/api-client.js';
import { queryText } from '../client/discovery.js';
import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';

/** The failure of a query that nothing matches, with how many replicas there are and how to see them. */
export function noMatchAmong(queries: readonly CapabilityQuery[], registered: number | undefined): AnyserveError {
  const asked = queries.map(queryText).join(' or ');
  return new AnyserveError('no_match', `no replica offers ${asked}${advice(registered)}`);
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
