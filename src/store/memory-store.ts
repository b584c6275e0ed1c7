import type { LeaseId, RegistryId, ReplicaId } from '../core/ids.js';
import type { CanReplace, RegistrationStore, StoreEvent } from '../core/ports.js';
import type { LeaseEnd, Registration, RegistrationChange, Replica } from '../core/replica.js';
import { createTakenError } from '../core/scope.js';
import { changeRegistration } from './change-registration.js';

/** A store in this process, without persistence. Subscribers receive each change before the call returns. */
export class MemoryStore<R extends Replica = Replica> implements RegistrationStore<R> {
  readonly registryId: RegistryId;
  readonly #byReplica = new Map<ReplicaId, Registration<R>>();
  readonly #byLease = new Map<LeaseId, Registration<R>>();
  readonly #listeners = new Set<(event: StoreEvent<R>) => void>();

  constructor(registryId: RegistryId) {
    this.registryId = registryId;
  }

  /** Resolves at once, because an empty store is complete. */
  async start(): Promise<void> {}

  async put(registration: Registration<R>, canReplace?: CanReplace): Promise<void> {
    const { id } = registration.replica;
    const previous = this.#byReplica.get(id);
    if (previous && canReplace?.(previous) === false) throw createTakenError(id);
    if (previous) this.#byLease.delete(previous.lease);
    this.#set(registration);
    this.#notify({ kind: 'put', registration });
  }

  async change(lease: LeaseId, change: RegistrationChange<R>): Promise<void> {
    const previous = this.#byLease.get(lease);
    if (!previous) return;
    const registration = changeRegistration(previous, change);
    this.#set(registration);
    this.#notify({ kind: 'change', registration });
  }

  async delete(lease: LeaseId, end: LeaseEnd): Promise<void> {
    const registration = this.#byLease.get(lease);
    if (!registration) return;
    this.#byLease.delete(lease);
    this.#byReplica.delete(registration.replica.id);
    this.#notify({ kind: 'delete', lease, replicaId: registration.replica.id, end });
  }

  subscribe(listener: (event: StoreEvent<R>) => void): () => void {
    for (const registration of this.#byReplica.values()) listener({ kind: 'put', registration });
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }

  #set(registration: Registration<R>): void {
    this.#byReplica.set(registration.replica.id, registration);
    this.#byLease.set(registration.lease, registration);
  }

  #notify(event: StoreEvent<R>): void {
    for (const listener of this.#listeners) listener(event);
  }
}
