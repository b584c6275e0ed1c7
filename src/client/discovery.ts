import { type CapabilityQuery, listPairs } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ApiClient } from './api-client.js';
import type { Cancellation } from './cancellation.js';

/** Delay before an API server that is warming up is asked again, in ms, ±50 %. */
export const WARMING_RETRY_MS = 500;

/** Target of a call. `replicaId` is undefined for an endpoint that was given instead of discovered. */
export interface Target {
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
}

/** Result of a discovery. While `isWarming`, the API server has just started and replicas can still be reconnecting. */
export type DiscoveryResult =
  | { readonly kind: 'found'; readonly target: Target }
  | { readonly kind: 'none'; readonly isWarming: boolean };

/** Outcome of an attempt at a target. */
export type AttemptOutcome =
  | { readonly kind: 'success'; readonly firstByteMs: number }
  | { readonly kind: 'failure'; readonly error: AnyserveError }
  /** The caller cancelled the call or left the stream. The target did not cause this. */
  | { readonly kind: 'abandoned' };

/** Finds the targets of calls, and receives the outcomes of the attempts at them. */
export interface Discovery {
  /** Whether there can be another target if one fails. */
  readonly hasOthers: boolean;
  /** Target that responded last; undefined before the first response, and after the target failed. */
  readonly lastTarget: Target | undefined;
  /**
   * Finds a target, if possible one that isn't excluded. Returns no promise if it doesn't need to ask an API server.
   * Rejects with `server_unreachable`.
   */
  find(
    excluded: readonly ReplicaId[],
    timeoutMs: number,
    cancellation: Cancellation,
  ): DiscoveryResult | Promise<DiscoveryResult>;
  /** Records a message of a stream that a target sent. */
  reportMessage(target: Target): void;
  /** Records the end of an attempt. Called once for each attempt. */
  reportOutcome(target: Target, outcome: AttemptOutcome): void;
  /** Returns whether a target is in the list and isn't suspected to be dead. Rejects with `server_unreachable`. */
  isListed(target: Target, signal: AbortSignal): Promise<boolean>;
  close(): void;
}

/** Creates a discovery that always returns the same endpoint. */
export function createFixedDiscovery(endpoint: string): Discovery {
  const target = { endpoint, replicaId: undefined };
  return {
    hasOthers: false,
    lastTarget: target,
    find: () => ({ kind: 'found', target }),
    reportMessage: () => {},
    reportOutcome: () => {},
    isListed: async () => true,
    close: () => {},
  };
}

/** Asks the API servers for a replica with a capability, for each attempt. */
export class RouteDiscovery implements Discovery {
  readonly hasOthers = true;
  readonly #api: ApiClient;
  readonly #query: CapabilityQuery;
  #lastTarget: Target | undefined;

  constructor(api: ApiClient, query: CapabilityQuery) {
    this.#api = api;
    this.#query = query;
  }

  get lastTarget(): Target | undefined {
    return this.#lastTarget;
  }

  async find(excluded: readonly ReplicaId[], timeoutMs: number, { signal }: Cancellation): Promise<DiscoveryResult> {
    const result = await this.#api.route(this.#query, excluded, { signal, timeoutMs });
    return result.kind === 'found' ? { kind: 'found', target: result.route } : result;
  }

  reportMessage(target: Target): void {
    this.#lastTarget = target;
  }

  reportOutcome(target: Target, { kind }: AttemptOutcome): void {
    if (kind === 'success') this.#lastTarget = target;
    else if (kind === 'failure' && this.#lastTarget?.endpoint === target.endpoint) this.#lastTarget = undefined;
  }

  async isListed({ replicaId, endpoint }: Target, signal: AbortSignal): Promise<boolean> {
    if (replicaId === undefined) return true;
    const found = await this.#api.findReplica(replicaId, { signal });
    return found !== undefined && found.replica.endpoint === endpoint && found.state !== 'suspect';
  }

  close(): void {
    this.#api.close();
  }
}

/** Formats a query for messages, as `{"type":"chat"}`. */
export function describeQuery(query: CapabilityQuery): string {
  return JSON.stringify(Object.fromEntries(listPairs(query)));
}

/** Creates the error for a query that no replica matches. */
export function createNoMatchError(query: CapabilityQuery): AnyserveError {
  return new AnyserveError('no_match', `no replica offers ${describeQuery(query)}`);
}
