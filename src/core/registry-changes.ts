import type { ReplicaId, ServerId } from './ids.js';
import type { LeaseEnd, Registration, Replica } from './replica.js';

/** Reason of the removal of a replica from a list of those that match, while it is still registered. */
export const NO_LONGER_MATCHES = 'no-longer-matches';

/** Why a registration left a list. */
export type RemovalCause = LeaseEnd | typeof NO_LONGER_MATCHES;

/** A change of the list of registrations. */
export interface RegistryChange<R extends Replica = Replica> {
  /** Number of the change: 1 for the first, and one more for each following one. */
  readonly revision: number;
  readonly replicaId: ReplicaId;
  /** The registration after the change; undefined if it was removed. */
  readonly registration: Registration<R> | undefined;
  /** The registration before the change; undefined if the id was not registered. */
  readonly previous: Registration<R> | undefined;
  /** Why the registration was removed. Undefined if it was not, or if the store doesn't know. */
  readonly reason: RemovalCause | undefined;
}

/** Reports the changes of a registry's list to subscribers, in the order in which they are applied. */
export class RegistryChanges<R extends Replica = Replica> {
  /** Names the sequence of revisions: no other process, and no other registry, has the same one. */
  readonly epoch: ServerId;
  readonly #listeners = new Set<(change: RegistryChange<R>) => void>();
  #revision = 0;

  constructor(epoch: ServerId) {
    this.epoch = epoch;
  }

  /** Number of the last change. The list of registrations contains all changes up to it. */
  get revision(): number {
    return this.#revision;
  }

  /** Calls the listener for each later change, before the call that made the change returns. The returned function unsubscribes. */
  subscribe(listener: (change: RegistryChange<R>) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Reports that a registration was added or replaced; for the registry only. */
  recordPut(registration: Registration<R>, previous: Registration<R> | undefined): void {
    this.#record(registration.replica.id, registration, previous, undefined);
  }

  /** Reports that a registration was removed; for the registry only. */
  recordRemoval(previous: Registration<R>, reason: RemovalCause | undefined): void {
    this.#record(previous.replica.id, undefined, previous, reason);
  }

  #record(
    replicaId: ReplicaId,
    registration: Registration<R> | undefined,
    previous: Registration<R> | undefined,
    reason: RemovalCause | undefined,
  ): void {
    const change = { revision: ++this.#revision, replicaId, registration, previous, reason };
    for (const listener of this.#listeners) listener(change);
  }
}
