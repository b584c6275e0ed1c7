import { AnyserveError } from './errors.js';

/** Counts of the leases of a server, for metrics. */
export class LeaseCounts {
  /** Number of leases granted since the start. */
  granted = 0;
  /** Active leases: those with a TTL, and those that last as long as a connection. */
  readonly active = { ttl: 0, stream: 0 };
  /** Renewals by result. `refused`: the registry has no room for the reported capabilities. */
  readonly renewals = { renewed: 0, superseded: 0, unknown: 0, too_soon: 0, refused: 0 };

  /** Counts a lease that begins (1) or ends (-1). */
  addActive({ ttlMs }: { readonly ttlMs?: number | undefined }, change: 1 | -1): void {
    this.active[ttlMs === undefined ? 'stream' : 'ttl'] += change;
  }

  addRenewal(result: keyof LeaseCounts['renewals'] | AnyserveError): void {
    this.renewals[result instanceof AnyserveError ? 'refused' : result]++;
  }
}
