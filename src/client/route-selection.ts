import type { RouteResponse } from '../api/api-responses.js';
import { formatProtocolHeader } from '../api/protocol-header.js';
import type { ListedReplica } from '../api/replica-list-json.js';
import { formatSelectorHeader, PREFER_HEADER, SELECTOR_HEADER } from '../api/selector-header.js';
import type { ReplicaId } from '../core/ids.js';
import type { Random } from '../core/ports.js';
import { getProtocol, hasProtocol, type Protocol } from '../core/protocol.js';
import { type CapabilityFilter, matchesPreference, matchesSelector, type Selector } from '../core/selector.js';

/** Which of the replicas that match a query a caller wants. */
export interface RouteSelection {
  readonly selector: Selector;
  /** Matches that satisfy it too are chosen first. */
  readonly preference: Selector;
  /** Default: any, rather gRPC. */
  readonly protocol?: Protocol | undefined;
  /** For the choice among the list of a server that ignores the selection. */
  readonly random: Random;
}

/**
 * Result of a route request. While `isWarming`, the servers have just started and replicas can still be reconnecting. If replicas
 * match except that they have another protocol than the requested one, `none` has that protocol.
 */
export type RouteResult =
  | { readonly kind: 'found'; readonly route: RouteResponse }
  | { readonly kind: 'none'; readonly isWarming: boolean; readonly otherProtocol?: Protocol | undefined };

/** Formats the request headers of a selection. */
export function formatSelectionHeaders({ selector, preference, protocol }: RouteSelection): Record<string, string> {
  return {
    ...formatProtocolHeader(protocol),
    ...(selector.terms.length > 0 && { [SELECTOR_HEADER]: formatSelectorHeader(selector) }),
    ...(preference.terms.length > 0 && { [PREFER_HEADER]: formatSelectorHeader(preference) }),
  };
}

/** Returns whether a server that knows selectors confirms in its response that it applied those of the selection. */
export function needsConfirmation({ selector, preference }: RouteSelection): boolean {
  return selector.terms.length > 0 || preference.terms.length > 0;
}

/**
 * Chooses a replica from the list of a server that ignores the selection, by the rules of the API server: gRPC before HTTP unless
 * one is asked for, ready before suspect, and preferred before others. An excluded one is chosen only if no other matches.
 */
export function chooseListed(
  listed: readonly ListedReplica[],
  filter: CapabilityFilter,
  { preference, protocol, random }: RouteSelection,
  excluded: ReadonlySet<ReplicaId>,
): RouteResult {
  const ranked = new Map<number, ListedReplica[]>();
  let otherProtocol: Protocol | undefined;
  for (const one of listed) {
    const { replica, state = 'ready', cordon } = one;
    const isRoutable = !cordon?.cordoned && (state === 'ready' || state === 'suspect');
    if (!isRoutable || !matchesSelector(filter.query, filter.selector, replica.capabilities)) continue;
    if (!hasProtocol(replica.endpoint, protocol)) {
      otherProtocol = getProtocol(replica.endpoint);
      continue;
    }
    const isPreferred = matchesPreference(filter, preference, replica.capabilities);
    const rank =
      (hasProtocol(replica.endpoint, 'http') ? 8 : 0) +
      (excluded.has(replica.id) ? 4 : 0) +
      (state === 'suspect' ? 2 : 0) +
      (isPreferred ? 0 : 1);
    const others = ranked.get(rank);
    if (others) others.push(one);
    else ranked.set(rank, [one]);
  }
  const best = ranked.get(Math.min(...ranked.keys())) ?? [];
  const chosen = best[Math.floor(random.fraction() * best.length)];
  if (!chosen) return { kind: 'none', isWarming: false, otherProtocol };
  return { kind: 'found', route: { endpoint: chosen.replica.endpoint, replicaId: chosen.replica.id } };
}

/** Returns a match of any server, or what the results without a match have in common. */
export function mergeRouteResults(results: readonly RouteResult[]): RouteResult {
  const found = results.find(({ kind }) => kind === 'found');
  if (found) return found;
  const misses = results.filter((result) => result.kind === 'none');
  return {
    kind: 'none',
    isWarming: misses.every(({ isWarming }) => isWarming),
    otherProtocol: misses.find(({ otherProtocol }) => otherProtocol !== undefined)?.otherProtocol,
  };
}
