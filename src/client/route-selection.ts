import type { RouteResponse } from '../api/api-responses.js';
import type { ListedReplica } from '../api/replica-list-json.js';
import { formatSelectorHeader, PREFER_HEADER, SELECTOR_HEADER } from '../api/selector-header.js';
import type { ReplicaId } from '../core/ids.js';
import type { Random } from '../core/ports.js';
import { type CapabilityFilter, matchesPreference, matchesSelector, type Selector } from '../core/selector.js';

/** Which of the replicas that match a query a caller wants. */
export interface RouteSelection {
  readonly selector: Selector;
  /** Matches that satisfy it too are chosen first. */
  readonly preference: Selector;
  /** For the choice among the list of a server that ignores selectors. */
  readonly random: Random;
}

/** Formats the request headers of a selection. */
export function formatSelectionHeaders({ selector, preference }: RouteSelection): Record<string, string> {
  return {
    ...(selector.terms.length > 0 && { [SELECTOR_HEADER]: formatSelectorHeader(selector) }),
    ...(preference.terms.length > 0 && { [PREFER_HEADER]: formatSelectorHeader(preference) }),
  };
}

/**
 * Chooses a replica from the list of a server that ignores selectors, by the rules of the API server: ready before suspect, and
 * preferred before others. An excluded one is chosen only if no other matches.
 */
export function chooseListed(
  listed: readonly ListedReplica[],
  filter: CapabilityFilter,
  { preference, random }: RouteSelection,
  excluded: ReadonlySet<ReplicaId>,
): RouteResponse | undefined {
  const ranked = new Map<number, ListedReplica[]>();
  for (const one of listed) {
    const { replica, state = 'ready', cordon } = one;
    const isRoutable = !cordon?.cordoned && (state === 'ready' || state === 'suspect');
    if (!isRoutable || !matchesSelector(filter.query, filter.selector, replica.capabilities)) continue;
    const isPreferred = matchesPreference(filter, preference, replica.capabilities);
    const rank = (excluded.has(replica.id) ? 4 : 0) + (state === 'suspect' ? 2 : 0) + (isPreferred ? 0 : 1);
    const others = ranked.get(rank);
    if (others) others.push(one);
    else ranked.set(rank, [one]);
  }
  const best = ranked.get(Math.min(...ranked.keys())) ?? [];
  const chosen = best[Math.floor(random.fraction() * best.length)];
  return chosen && { endpoint: chosen.replica.endpoint, replicaId: chosen.replica.id };
}
