import { hasProtocol, type Protocol } from './protocol.js';
import type { Replica } from './replica.js';
import { type CapabilityFilter, matchesSelector } from './selector.js';

/** Which replicas a caller asks for: by their capabilities and their protocol. */
export interface ReplicaFilter extends CapabilityFilter {
  /** Undefined for any protocol. */
  readonly protocol?: Protocol | undefined;
}

/** Returns whether a replica has the protocol of a filter and matches its query and selector. */
export function matchesFilter(
  { query, selector, protocol }: ReplicaFilter,
  { endpoint, capabilities }: Pick<Replica, 'endpoint' | 'capabilities'>,
): boolean {
  return hasProtocol(endpoint, protocol) && matchesSelector(query, selector, capabilities);
}

/** Returns the same for a watch, in which the empty query without a selector also matches a replica without capabilities. */
export function isWatched(filter: ReplicaFilter, replica: Pick<Replica, 'endpoint' | 'capabilities'>): boolean {
  const isEmpty = filter.query.length === 0 && filter.selector.terms.length === 0;
  return isEmpty ? hasProtocol(replica.endpoint, filter.protocol) : matchesFilter(filter, replica);
}
