import type { Target } from '../../discovery.js';
import type { ReplicaStats } from '../replica-stats.js';

/** A replica that a call can go to. */
export interface ReplicaCandidate {
  readonly target: Target;
  /** Its share of the calls: twice the weight, twice the calls. At least 1. */
  readonly weight: number;
  readonly stats: ReplicaStats;
  /** Whether it goes before candidates that are not preferred. Undefined: no. */
  readonly isPreferred?: boolean;
}

/** The properties of a call that a picker uses. */
export interface PickContext {
  /** Calls with the same key go to the same replica, if the picker supports that. */
  readonly affinity?: string | undefined;
}

/** Picks the replica for a call. Each policy is one file. */
export interface Picker {
  /** Picks one of the candidates, of which there is at least one. */
  pick(candidates: readonly ReplicaCandidate[], context: PickContext): ReplicaCandidate;
}
