import type { Capability } from './capability.js';
import type { Endpoint, LeaseId, ReplicaId, ServerId } from './ids.js';

/** A model server as it registered itself. */
export interface Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
}

/** What a replica says of itself: it takes calls, it cannot take any now, or it finishes those it has and goes. */
export type DeclaredState = 'ready' | 'unready' | 'draining';

/**
 * Whether a replica is routed to. Only a `ready` one is, but for a `suspect` one when nothing else matches: of that
 * there is evidence that it is dead, and a reason not to believe it.
 */
export type ReplicaState = DeclaredState | 'suspect';

/** One replica's stay in the list, from the grant of its lease to the lease's end. */
export interface Registration {
  readonly lease: LeaseId;
  /** The API server that granted the lease. */
  readonly owner: ServerId;
  readonly replica: Replica;
  readonly state: ReplicaState;
  /** Since when it has been in this state, in milliseconds since 1970. */
  readonly sinceEpochMs: number;
}

/** What can change in a registration while its lease runs. */
export type RegistrationChange = Partial<Pick<Registration, 'replica' | 'state' | 'sinceEpochMs'>>;

/** Whether a replica in this state may ever be chosen, and so is in the list that callers see. */
export function isRoutable({ state }: Registration): boolean {
  return state === 'ready' || state === 'suspect';
}

/**
 * Why a lease ended: its connection closed; its time ran out unrenewed; what was sent to its holder was not acknowledged
 * any more; a newer registration took the id; its holder gave it back; or the API server stops.
 */
export type LeaseEnd = 'closed' | 'expired' | 'unacknowledged' | 'superseded' | 'released' | 'shutdown';

/** The ends that are inferred from silence, and may be wrong. */
export type InferredEnd = Extract<LeaseEnd, 'expired' | 'unacknowledged'>;
