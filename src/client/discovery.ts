import { type CapabilityQuery, pairEntries } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ApiClient } from './api-client.js';

/** Where a call goes. Behind a given endpoint there is no replica to name. */
export interface Target {
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
}

/** What looking for a target comes to. While `isWarming`, replicas may still be on their way back to the API server. */
export type Finding =
  | { readonly kind: 'found'; readonly target: Target }
  | { readonly kind: 'none'; readonly isWarming: boolean };

/** How to find targets. */
export interface Discovery {
  /** Whether there can be another target when one fails. */
  readonly hasOthers: boolean;
  /**
   * A target, one that is not excluded if there is any such; none when no replica matches. Throws
   * `server_unreachable`.
   */
  find(excluded: readonly ReplicaId[], timeoutMs: number, signal: AbortSignal | undefined): Promise<Finding>;
  /**
   * Whether a target is in the list, and not as one that is suspected to be dead. Throws `server_unreachable`.
   */
  isListed(target: Target, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Discovery that always finds the same endpoint. */
export function fixedDiscovery(endpoint: string): Discovery {
  const target = { endpoint, replicaId: undefined };
  return {
    hasOthers: false,
    find: async () => ({ kind: 'found', target }),
    isListed: async () => true,
    close: () => {},
  };
}

/** Discovery by asking an API server for a capability. */
export function capabilityDiscovery(api: ApiClient, query: CapabilityQuery): Discovery {
  return {
    hasOthers: true,
    async find(excluded, timeoutMs, signal) {
      const answer = await api.route(query, excluded, { signal, timeoutMs });
      return answer.kind === 'found' ? { kind: 'found', target: answer.route } : answer;
    },
    async isListed({ replicaId, endpoint }, signal) {
      if (replicaId === undefined) return true;
      const found = await api.find(replicaId, { signal });
      return found !== undefined && found.replica.endpoint === endpoint && found.state !== 'suspect';
    },
    close: () => api.close(),
  };
}

/** A query in the form people read: `{"type":"chat"}`. */
export function queryText(query: CapabilityQuery): string {
  return JSON.stringify(Object.fromEntries(pairEntries(query)));
}

/** The failure of a query that nothing matches. */
export function noMatch(query: CapabilityQuery): AnyserveError {
  return new AnyserveError('no_match', `no replica offers ${queryText(query)}`);
}
