import type { Capability } from './capability.js';
import type { Cordon } from './cordon.js';
import type { Endpoint, InstanceId, LeaseId, ReplicaId, ServerId } from './ids.js';

/** A registered model server. */
export interface Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
}

/** A process that registers a replica. */
export interface Instance {
  readonly id: InstanceId;
  /** When the process began to register the replica, in ms since 1970. */
  readonly startedMs: number;
}

/** A process, and the number of one of its registrations or changes. */
export interface NumberedInstance extends Instance {
  /** Higher for each registration and each change, and the same at all API servers: the highest is the newest. */
  readonly seq: number;
}

/** Returns whether two registrations are of the same process. Processes that don't report themselves are different ones. */
export function isSameInstance(a: Instance | undefined, b: Instance | undefined): boolean {
  return a !== undefined && a.id === b?.id;
}

/** State that a replica reports: it takes calls, it cannot take calls now, or it finishes its calls before it stops. */
export type DeclaredState = 'ready' | 'unready' | 'draining';

/**
 * State of a replica. Calls are routed to `ready` replicas, and to `suspect` ones if no ready replica matches. A suspect replica
 * seems dead, but the evidence is doubtful.
 */
export type ReplicaState = DeclaredState | 'suspect';

/**
 * A replica in the registry, from the grant of its lease to the end of the lease. `R` is the type of replica that a program
 * registers: the API server's replicas carry their serializations.
 */
export interface Registration<R extends Replica = Replica> {
  readonly lease: LeaseId;
  /** The API server that granted the lease. */
  readonly owner: ServerId;
  /** The URL at which the owner takes requests for the lease. Undefined if it did not report one. */
  readonly ownerUrl: string | undefined;
  /** The process that registered it, and the number of its last change. Undefined if it did not report them. */
  readonly instance: NumberedInstance | undefined;
  readonly replica: R;
  readonly state: ReplicaState;
  /** Time at which it entered this state, in ms since 1970. */
  readonly sinceEpochMs: number;
  /** The last decision of an operator about the id. Undefined if there was none. */
  readonly cordon: Cordon | undefined;
  /** Share of the calls, from 1 to {@link MAX_WEIGHT}: twice the weight, twice the calls. */
  readonly weight: number;
}

/** Maximum weight of a registration. The minimum, and the default, is 1. */
export const MAX_WEIGHT = 1000;

/** A change of a registration during its lease. */
export type RegistrationChange<R extends Replica = Replica> = Partial<
  Pick<Registration<R>, 'replica' | 'state' | 'sinceEpochMs' | 'instance' | 'cordon'>
>;

/** Returns whether a replica can be chosen: by its state, and unless it is cordoned. Only such replicas are in the list for callers. */
export function isRoutable({ state, cordon }: Registration): boolean {
  return (state === 'ready' || state === 'suspect') && !cordon?.cordoned;
}

/**
 * Reason of the end of a lease. `closed`: its connection closed. `expired`: its TTL passed without a renewal. `unacknowledged`:
 * the holder's host stopped acknowledging data. `superseded`: a newer registration took the replica id. `released`: its holder
 * revoked it. `shutdown`: the API server stops. `reregistered`: the process that holds it registered the replica again.
 */
export type LeaseEnd =
  | 'closed'
  | 'expired'
  | 'unacknowledged'
  | 'superseded'
  | 'released'
  | 'shutdown'
  | 'reregistered';

/** Reasons that are inferred from silence, and can be wrong. */
export type InferredEnd = Extract<LeaseEnd, 'expired' | 'unacknowledged'>;
