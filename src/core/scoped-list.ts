import type { Capability } from './capability.js';
import { isSameCordon } from './cordon.js';
import type { ServerId } from './ids.js';
import type { Random } from './ports.js';
import type { Registry } from './registry.js';
import { NO_LONGER_MATCHES, type RegistryChange, RegistryChanges } from './registry-changes.js';
import type { Registration, Replica } from './replica.js';
import { ReplicaList } from './replica-list.js';
import { areInScope, type Scope, selectInScope } from './scope.js';

/** Creates a replica that has only these capability objects of another one. */
export type NarrowReplica<R extends Replica> = (replica: R, capabilities: readonly Capability[]) => R;

/** Options of a {@link ScopedList}. */
export interface ScopedListOptions<R extends Replica = Replica> {
  readonly registry: Pick<Registry<R>, 'pages' | 'changes'>;
  readonly scope: Scope;
  readonly narrow: NarrowReplica<R>;
  readonly random: Random;
  /** Names the sequence of the list's revisions. */
  readonly epoch: ServerId;
}

/** The effect of a change of the registry on a list. */
export interface ScopedChange<R extends Replica = Replica> {
  /** The replica before and after the change; undefined where it is not in the list. */
  readonly before: R | undefined;
  readonly after: R | undefined;
  /** Whether the replica's capability objects have changed. */
  readonly hasOtherOffer: boolean;
}

/**
 * The registrations of the replicas in a scope, with the capability objects that are in it. It follows the changes of a registry,
 * and has its own revisions: a change of other objects changes nothing here.
 */
export class ScopedList<R extends Replica = Replica> {
  readonly changes: RegistryChanges<R>;
  readonly replicas: ReplicaList<R>;
  readonly #scope: Scope;
  readonly #narrow: NarrowReplica<R>;
  #lastChange: ScopedChange<R> = { before: undefined, after: undefined, hasOtherOffer: false };

  constructor({ registry, scope, narrow, random, epoch }: ScopedListOptions<R>) {
    this.#scope = scope;
    this.#narrow = narrow;
    this.changes = new RegistryChanges(epoch);
    this.replicas = new ReplicaList(random);
    for (const { registrations } of registry.pages()) {
      for (const registration of registrations) {
        const narrowed = this.#narrowRegistration(registration);
        if (narrowed) this.replicas.put(narrowed);
      }
    }
    registry.changes.subscribe((change) => this.#apply(change));
  }

  /** The effect of the registry's last change on this list. */
  get lastChange(): ScopedChange<R> {
    return this.#lastChange;
  }

  #apply(change: RegistryChange<R>): void {
    const { registration, replicaId, reason } = change;
    const before = this.replicas.get(replicaId);
    const after = registration && this.#narrowRegistration(registration);
    const hasOtherOffer = before !== undefined && after !== undefined && this.#changesOffer(change, before, after);
    this.#lastChange = { before: before?.replica, after: after?.replica, hasOtherOffer };
    if (before && after && !hasOtherOffer && isSameExceptOffer(before, after)) return;
    if (after) {
      this.replicas.put(after);
      this.changes.recordPut(after, before);
    } else if (before) {
      this.replicas.delete(replicaId);
      this.changes.recordRemoval(before, registration ? NO_LONGER_MATCHES : reason);
    }
  }

  #narrowRegistration(registration: Registration<R>): Registration<R> | undefined {
    const { replica } = registration;
    const capabilities = selectInScope(this.#scope, replica.capabilities);
    if (capabilities.length === 0) return undefined;
    return capabilities === replica.capabilities
      ? registration
      : { ...registration, replica: this.#narrow(replica, capabilities) };
  }

  /** Returns whether all objects before and after a change are in the scope. */
  #isPure({ registration, previous }: RegistryChange<R>): boolean {
    return [registration, previous].every((one) => !one || areInScope(this.#scope, one.replica.capabilities));
  }

  #changesOffer(change: RegistryChange<R>, before: Registration<R>, after: Registration<R>): boolean {
    if (change.registration?.replica === change.previous?.replica) return false;
    return this.#isPure(change) || !isSameOffer(before.replica, after.replica);
  }
}

/** Returns whether two registrations of one id differ at most in their capability objects, and in the number of their last change. */
function isSameExceptOffer(a: Registration, b: Registration): boolean {
  return (
    a.lease === b.lease &&
    a.state === b.state &&
    a.sinceEpochMs === b.sinceEpochMs &&
    isSameCordon(a.cordon, b.cordon) &&
    a.weight === b.weight
  );
}

function isSameOffer(a: Replica, b: Replica): boolean {
  return (
    a.endpoint === b.endpoint &&
    a.capabilities.length === b.capabilities.length &&
    a.capabilities.every(({ source }, index) => source === b.capabilities[index]?.source)
  );
}
