import { AnyserveError } from './errors.js';
import type { Lease, LeaseTable } from './lease-table.js';

/** Limits of a registry. */
export interface RegistryLimits {
  readonly maxReplicas: number;
  readonly maxLeasesPerHost: number;
  /** Maximum size of all registrations together, in bytes. One host can have a quarter of it. */
  readonly maxBytes?: number | undefined;
}

/** The limits of a registry without limits. */
export const NO_REGISTRY_LIMITS: RegistryLimits = {
  maxReplicas: Number.POSITIVE_INFINITY,
  maxLeasesPerHost: Number.POSITIVE_INFINITY,
};

/**
 * Returns why a host can't get another lease; undefined if it can. `unavailable`: the registry is full. `resource_exhausted`:
 * the host has reached its own limit.
 */
export function checkLeaseLimits(
  leases: LeaseTable,
  limits: RegistryLimits,
  {
    host,
    bytes,
    isNew,
    replaced,
    replicas,
  }: {
    readonly host: string;
    readonly bytes: number;
    /** Whether the replica id is not registered yet. */
    readonly isNew: boolean;
    /** The lease that the new one replaces, if this server granted it. */
    readonly replaced: Lease | undefined;
    /** Number of replicas in the registry. */
    readonly replicas: number;
  },
): AnyserveError | undefined {
  const { maxReplicas, maxLeasesPerHost } = limits;
  if (isNew && replicas >= maxReplicas) {
    return new AnyserveError('unavailable', `the registry is full: it has ${maxReplicas} replicas, the maximum`);
  }
  if (replaced?.host !== host && leases.countLeases(host) >= maxLeasesPerHost) {
    return new AnyserveError('resource_exhausted', `${host} has ${maxLeasesPerHost} leases, the maximum for one host`);
  }
  return checkByteLimits(leases, limits, { host, bytes, replaced });
}

/** Maximum share of all bytes that one host can have. */
const HOST_SHARE = 1 / 4;

/**
 * Returns why a host cannot have a registration of this size; undefined if it can. The bytes of the lease that it replaces count
 * as free. `unavailable`: the registry is full. `resource_exhausted`: the host has reached its own limit.
 */
export function checkByteLimits(
  leases: LeaseTable,
  { maxBytes = Number.POSITIVE_INFINITY }: RegistryLimits,
  { host, bytes, replaced }: { readonly host: string; readonly bytes: number; readonly replaced: Lease | undefined },
): AnyserveError | undefined {
  const freed = replaced?.bytes ?? 0;
  const freedByHost = replaced?.host === host ? freed : 0;
  const maxHostBytes = Math.floor(maxBytes * HOST_SHARE);
  const problem = `no room for a registration of ${bytes} bytes`;
  if (leases.countBytes(host) - freedByHost + bytes > maxHostBytes) {
    return new AnyserveError(
      'resource_exhausted',
      `${problem}: the maximum for all registrations of ${host} is ${maxHostBytes} bytes`,
    );
  }
  if (leases.bytes - freed + bytes > maxBytes) {
    return new AnyserveError('unavailable', `${problem}: the maximum for all registrations is ${maxBytes} bytes`);
  }
  return undefined;
}
