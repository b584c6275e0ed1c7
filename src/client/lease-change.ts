import type { AnyserveError } from '../core/errors.js';

/*
 * This file imports nothing of Node.js, because it contains public types, which must compile in projects
 * without Node's types.
 */

/** A change of a registration that is kept at one or more API servers. `server` names the server. */
export type LeaseChange =
  | { readonly kind: 'registered'; readonly server: string }
  /** The lease ended or was not granted. The next attempt at this server is made after `retryInMs`. */
  | {
      readonly kind: 'lost';
      readonly server: string;
      readonly error: AnyserveError;
      readonly retryInMs: number;
      /** The servers where the replica is still registered. */
      readonly registeredWith: readonly string[];
    }
  /** The server accepted new capabilities for the same lease. */
  | { readonly kind: 'updated'; readonly server: string }
  /**
   * A newer registration by another process has the id. The keeper gives the id up at all servers, looks it up every
   * `checkInMs`, and takes it back when no server has listed it for 5 s.
   */
  | { readonly kind: 'superseded'; readonly server: string; readonly checkInMs: number }
  /**
   * Independent API servers take turns responding at this address. A load balancer must not do that: list each server by its
   * own address instead. Reported once per lease.
   */
  | { readonly kind: 'misrouted'; readonly server: string }
  /** The server can't share the registration with the other servers of its registry, which don't know the replica. */
  | { readonly kind: 'local'; readonly server: string; readonly reason: string }
  /** The other servers of the registry can know the replica again. */
  | { readonly kind: 'shared'; readonly server: string };
