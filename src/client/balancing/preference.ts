import type { ListedReplica } from '../../api/replica-list-json.js';
import { type CapabilityFilter, matchesPreference, type Selector } from '../../core/selector.js';
import type { ReplicaCandidate } from './pickers/picker.js';

/** Returns whether a replica is preferred to other matches. */
export type IsPreferred = (listed: ListedReplica) => boolean;

/** Creates the test for a preference; undefined if there is none. */
export function createPreference(filter: CapabilityFilter, preference: Selector): IsPreferred | undefined {
  if (preference.terms.length === 0) return undefined;
  return ({ replica }) => matchesPreference(filter, preference, replica.capabilities);
}

/**
 * Returns the preferred ones of some candidates, or all if none is preferred. So the caller first leaves out the candidates
 * that a call can't go to: a preference doesn't keep calls at a replica that is ejected.
 */
export function choosePreferred(candidates: readonly ReplicaCandidate[]): readonly ReplicaCandidate[] {
  const preferred = candidates.filter(({ isPreferred }) => isPreferred);
  return preferred.length > 0 ? preferred : candidates;
}
