import { AnyserveError } from './errors.js';
import type { Lease, LeaseTable } from './lease-table.js';

/** How much a registry takes. Default: no limits. */
export interface RegistryLimits {
  readonly maxReplicas: number;
  readonly maxLeasesPerHost: number;
  /** Maximum size of all registrations together, in bytes; one host can hold a quarter of it. */
  readonly maxBytes?: number | undefined;
}

/** The limits of a registry without limits. */
export const NO_REGISTRY_LIMITS: RegistryLimits = {
  maxReplicas: Number.POSITIVE_INFINITY,
  maxLeasesPerHost: Number.POSITIVE_INFINITY,
};

/**
 * Returns why a host can't get another lease; undefined when it can. `unavailable`: the registry is full;
 * `resource_exhausted`: the host has its share.
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
    /** Whether no replica has the id yet. */
    readonly isNew: boolean;
    /** The lease that it replaces, if this server granted it. */
    readonly replaced: Lease | undefined;
    /** Number of replicas in the registry. */
    readonly replicas: number;
  },
): AnyserveError | undefined {
  const { maxReplicas, maxLeasesPerHost } = limits;
  if (isNew && replicas >= maxReplicas) {
    return new AnyserveError('unavailable', `there are ${maxReplicas} replicas, and there is room for no more`);
  }
  if (replaced?.host !== host && leases.countLeases(host) >= maxLeasesPerHost) {
    return new AnyserveError('resource_exhausted', `${host} holds ${maxLeasesPerHost} leases, and may hold no more`);
  }
  return checkByteLimits(leases, limits, { host, bytes, replaced });
}

/** The part of all bytes that one host can hold. */
const HOST_SHARE = 1 / 4;

/**
 * Returns why a host cannot hold a registration of so many bytes; undefined when it can. What it replaces, if that is
 * counted here, makes room. `unavailable`: there is no room at all; `resource_exhausted`: the host has its share.
 */
export function checkByteLimits(
  leases: LeaseTable,
  { maxBytes = Number.POSITIVE_INFINITY }: RegistryLimits,
  { host, bytes, replaced }: { readonly host: string; readonly bytes: number; readonly replaced: Lease | undefined },
): AnyserveError | undefined {
  const freed = replaced?.bytes ?? 0;
  const freedByHost = replaced?.host === host ? freed : 0;
  const ofHost = Math.floor(maxBytes * HOST_SHARE);
  const needed = `a registration that needs ${bytes} bytes finds no room`;
  if (leases.countBytes(host) - freedByHost + bytes > ofHost) {
    return new AnyserveError('resource_exhausted', `${needed}: those of ${host} hold at most ${ofHost} bytes together`);
  }
  if (leases.bytes - freed + bytes > maxBytes) {
    return new AnyserveError('unavailable', `${needed}: all registrations together hold at most ${maxBytes} bytes`);
  }
  return undefined;
}
