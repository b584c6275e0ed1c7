import type { LeaseId } from './ids.js';
import type { LeaseTable } from './lease-table.js';
import type { Clock, RegistrationStore } from './ports.js';
import type { Registration, Replica } from './replica.js';

/**
 * Where a lease is: at this API server, at another one, or nowhere. `unsettled`: the store does not know at present whether
 * another server has it.
 */
export type LeaseLocation<R extends Replica = Replica> =
  | { readonly kind: 'here' }
  | { readonly kind: 'elsewhere'; readonly registration: Registration<R> }
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
  if (!lease) return { kind: 'unsettled' };
  if (lease.registration) return { kind: 'elsewhere', registration: lease.registration };
  // A lease of another server that was superseded is remembered by its name in the store.
  return { kind: isSuperseded(lease.alias) ? 'superseded' : 'unknown' };
}
