import type { LeaseId } from './ids.js';
import type { LeaseTable } from './lease-table.js';
import type { Clock, LeaseOwner, RegistrationStore } from './ports.js';
import type { Registration, Replica } from './replica.js';

/**
 * Where a lease is: at this API server, at another one, or nowhere. `unsettled`: the store does not know at present whether
 * another server has it.
 */
export type LeaseLocation<R extends Replica = Replica> =
  | { readonly kind: 'here' }
  /** `registration`: undefined if the owner has not shared it. Then only the owner can tell whether the lease exists. */
  | { readonly kind: 'elsewhere'; readonly owner: LeaseOwner; readonly registration: Registration<R> | undefined }
  | { readonly kind: 'superseded' }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unsettled' };

/** Dependencies of {@link locateLease}. */
export interface LeaseLocationOptions<R extends Replica> {
  readonly store: Pick<RegistrationStore<R>, 'findForeignLease'>;
  readonly leases: LeaseTable;
  readonly clock: Clock;
}

/** Finds out whether a lease is active, and which API server has it. */
export async function locateLease<R extends Replica>(
  id: LeaseId,
  { store, leases, clock }: LeaseLocationOptions<R>,
): Promise<LeaseLocation<R>> {
  if (leases.get(id)) return { kind: 'here' };
  const isSuperseded = (lease: LeaseId): boolean => leases.wasSuperseded(lease, clock.nowMs());
  if (isSuperseded(id)) return { kind: 'superseded' };
  if (!store.findForeignLease) return { kind: 'unknown' };
  const lease = await store.findForeignLease(id);
  if (lease.kind === 'shared') {
    const { registration } = lease;
    return { kind: 'elsewhere', owner: { url: registration.ownerUrl, lostForMs: undefined }, registration };
  }
  const isOwnerPresent = lease.kind === 'unshared' && lease.owner.lostForMs === undefined;
  // A lease of another server that was superseded is remembered by its name in the store. A server that is present knows better.
  if (!isOwnerPresent && isSuperseded(lease.alias)) return { kind: 'superseded' };
  if (lease.kind === 'unshared') return { kind: 'elsewhere', owner: lease.owner, registration: undefined };
  return { kind: lease.kind === 'none' ? 'unknown' : 'unsettled' };
}
