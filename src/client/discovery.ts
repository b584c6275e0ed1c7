import { type CapabilityQuery, listPairs } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ApiClient } from './api-client.js';
import type { Cancellation } from './cancellation.js';

/** Where a call goes. Behind a given endpoint there is no replica to name. */
export interface Target {
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
}

/** What looking for a target comes to. While `isWarming`, replicas may still be on their way back to the API server. */
export type DiscoveryResult =
  | { readonly kind: 'found'; readonly target: Target }
  | { readonly kind: 'none'; readonly isWarming: boolean };

/** How an attempt at a target ended. */
export type AttemptOutcome =
  | { readonly kind: 'success'; readonly firstByteMs: number }
  | { readonly kind: 'failure'; readonly error: AnyserveError }
  /** The caller cancelled the call or left the stream, which says nothing about the target. */
  | { readonly kind: 'abandoned' };

/** Finds the targets of calls, and learns how the attempts at them end. */
export interface Discovery {
  /** Whether there can be another target when one fails. */
  readonly hasOthers: boolean;
  /** Target that answered last; undefined before the first answer, and after it failed. */
  readonly lastTarget: Target | undefined;
  /**
   * Finds a target, if possible one that is not excluded; at once where none has to be asked for. Rejects with
   * `server_unreachable`.
   */
  find(
    excluded: readonly ReplicaId[],
    timeoutMs: number,
    cancellation: Cancellation,
  ): DiscoveryResult | Promise<DiscoveryResult>;
  /** Records a part of a stream that a target sent. */
  reportPart(target: Target): void;
  /** Records the end of an attempt. Called once for each attempt. */
  reportOutcome(target: Target, outcome: AttemptOutcome): void;
  /**
   * Whether a target is in the list, and not as one that is suspected to be dead. Throws `server_unreachable`.
   */
  isListed(target: Target, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Creates a discovery that always finds the same endpoint. */
export function createFixedDiscovery(endpoint: string): Discovery {
  const target = { endpoint, replicaId: undefined };
  return {
    hasOthers: false,
    lastTarget: target,
    find: () => ({ kind: 'found', target }),
    reportPart: () => {},
    reportOutcome: () => {},
    isListed: async () => true,
    close: () => {},
  };
}

/** Creates a discovery that asks an API server for a capability, each time. */
export function createCapabilityDiscovery(api: ApiClient, query: CapabilityQuery): Discovery {
  return {
    hasOthers: true,
    lastTarget: undefined,
    async find(excluded, timeoutMs, { signal }) {
      const answer = await api.route(query, excluded, { signal, timeoutMs });
      return answer.kind === 'found' ? { kind: 'found', target: answer.route } : answer;
    },
    reportPart: () => {},
    reportOutcome: () => {},
    async isListed({ replicaId, endpoint }, signal) {
      if (replicaId === undefined) return true;
      const found = await api.find(replicaId, { signal });
      return found !== undefined && found.replica.endpoint === endpoint && found.state !== 'suspect';
    },
    close: () => api.close(),
  };
}

/** A query in the form people read: `{"type":"chat"}`. */
export function describeQuery(query: CapabilityQuery): string {
  return JSON.stringify(Object.fromEntries(listPairs(query)));
}

/** The failure of a query that nothing matches. */
export function createNoMatchError(query: CapabilityQuery): AnyserveError {
  return new AnyserveError('no_match', `no replica offers ${describeQuery(query)}`);
}
