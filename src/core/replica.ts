import type { Capability } from './capability.js';
import type { Endpoint, LeaseId, ReplicaId } from './ids.js';

/** A model server as it registered itself. */
export interface Replica {
  readonly id: ReplicaId;
  readonly endpoint: Endpoint;
  readonly capabilities: readonly Capability[];
}

/** One replica's stay in the list, from the grant of its lease to the lease's end. */
export interface Registration {
  readonly lease: LeaseId;
  readonly replica: Replica;
}

/** Why a lease ended: its connection closed, a newer registration took the id, or the API server stops. */
export type LeaseEnd = 'closed' | 'superseded' | 'shutdown';
