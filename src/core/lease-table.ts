import type { LeaseId } from './ids.js';
import type { LeaseEnd } from './replica.js';

/** Told once, when a lease ends for another reason than its holder's own wish. */
export type LeaseHolder = (end: LeaseEnd) => void;

/** The leases that this server granted and that still run, each with whoever must hear of its end. */
export interface LeaseTable {
  grant(lease: LeaseId, holder: LeaseHolder): void;
  /** Ends a lease and tells its holder; nothing when it has ended already or is another server's. */
  end(lease: LeaseId, end: LeaseEnd): void;
  /** Ends a lease by its holder's own wish; false when it has ended already. */
  giveUp(lease: LeaseId): boolean;
  /** The leases that run, in the order they were granted. */
  running(): LeaseId[];
}

/** A lease table with no leases. */
export function createLeaseTable(): LeaseTable {
  const holders = new Map<LeaseId, LeaseHolder>();
  return {
    grant: (lease, holder) => void holders.set(lease, holder),
    end(lease, end) {
      const holder = holders.get(lease);
      holders.delete(lease);
      holder?.(end);
    },
    giveUp: (lease) => holders.delete(lease),
    running: () => [...holders.keys()],
  };
}
