import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ApiClient } from './api-client.js';

/** Where a call goes. Behind a given endpoint there is no replica to name. */
export interface Target {
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
}

/** How to find targets. */
export interface Discovery {
  /** Whether there can be another target when one fails. */
  readonly hasOthers: boolean;
  /**
   * A target, one that is not excluded if there is any such; undefined when no replica matches. Throws
   * `server_unreachable`.
   */
  find(excluded: readonly ReplicaId[], timeoutMs: number, signal: AbortSignal | undefined): Promise<Target | undefined>;
  close(): void;
}

/** Discovery that always finds the same endpoint. */
export function fixedDiscovery(endpoint: string): Discovery {
  return { hasOthers: false, find: async () => ({ endpoint, replicaId: undefined }), close: () => {} };
}

/** Discovery by asking an API server for a capability. */
export function capabilityDiscovery(api: ApiClient, query: CapabilityQuery): Discovery {
  return {
    hasOthers: true,
    find: (excluded, timeoutMs, signal) => api.route(query, excluded, { signal, timeoutMs }),
    close: () => api.close(),
  };
}

/** A query in the form people read: `{"type":"chat"}`. */
export function queryText(query: CapabilityQuery): string {
  return JSON.stringify(Object.fromEntries(query));
}

/** The failure of a query that nothing matches. */
export function noMatch(query: CapabilityQuery): AnyserveError {
  return new AnyserveError('no_match', `no replica offers ${queryText(query)}`);
}
