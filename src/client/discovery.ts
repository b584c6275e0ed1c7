import { type CapabilityQuery, formatQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ReplicaLoad } from '../core/load.js';
import { getOtherProtocol, PROTOCOL_NAMES, type Protocol } from '../core/protocol.js';
import { quote } from '../core/quoting.js';
import type { ApiClient } from './api-client.js';
import type { Cancellation } from './cancellation.js';
import type { ClientReplica } from './client-options.js';
import type { RouteSelection } from './route-selection.js';

/** Delay before an API server that is warming up is asked again, in ms, ±50 %. */
export const WARMING_RETRY_MS = 500;

/** Target of a call. `replicaId` is undefined for an endpoint that was given instead of discovered. */
export interface Target {
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
}

/** A request for the target of an attempt. */
export interface DiscoveryRequest {
  /** Replicas at which attempts of the call have failed. */
  readonly excluded: readonly ReplicaId[];
  /** Calls with the same key go to the same replica, if the client picks replicas that way. */
  readonly affinity?: string | undefined;
  /** Whether replicas that run as many calls as they can are left out. */
  readonly leavesOutFull?: boolean | undefined;
  readonly timeoutMs: number;
  readonly cancellation: Cancellation;
}

/**
 * Result of a discovery. `none` while `isWarming`: the API server has just started, and replicas can still be reconnecting. `none`
 * with `otherProtocol`: replicas match, but they have that protocol instead of the client's.
 */
export type DiscoveryResult =
  | { readonly kind: 'found'; readonly target: Target }
  | { readonly kind: 'none'; readonly isWarming: boolean; readonly otherProtocol?: Protocol | undefined }
  | PushedBack
  /** With `leavesOutFull`: all replicas that match run as many calls as they can. */
  | { readonly kind: 'full' };

/** All replicas that match have asked not to be called for some time. Times are those of the monotonic clock. */
export interface PushedBack {
  readonly kind: 'pushed_back';
  /** Time at which the first of them is called again. */
  readonly untilMs: number;
  /** Time that the first of them has asked for, which can be later. */
  readonly askedUntilMs: number;
}

/** Outcome of an attempt at a target. */
export type AttemptOutcome =
  | { readonly kind: 'success' }
  | { readonly kind: 'failure'; readonly error: AnyserveError }
  /** The caller cancelled the call or left the stream. The target did not cause this. */
  | { readonly kind: 'abandoned' };

/** Receives what happens to one attempt at a target. */
export interface AttemptRecord {
  /** Records a message of the target. The first one has the time since the begin of the attempt, in ms. */
  recordMessage(firstByteMs?: number): void;
  /** Records the load that the target reports in its response. */
  recordLoad(load: ReplicaLoad): void;
  /** Records the end. Called once. */
  end(outcome: AttemptOutcome): void;
  /** Takes back an internal error: other replicas failed the same call. */
  forgive(): void;
}

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
  find(request: DiscoveryRequest): DiscoveryResult | Promise<DiscoveryResult>;
  /** Finds a target that isn't excluded, without asking an API server. */
  findOther(request: Pick<DiscoveryRequest, 'excluded' | 'affinity'>): Target | undefined;
  /** Records that an attempt at a target begins. */
  beginAttempt(target: Target): AttemptRecord;
  /** Whether a target has left, or gets no calls because it failed too often. */
  hasLeft(target: Target): boolean;
  /** Whether another target matches that has not failed since its last success, as far as known. */
  hasHealthyOther(target: Target): boolean;
  /** Returns whether a target is in the list and isn't suspected to be dead. Rejects with `server_unreachable`. */
  isListed(target: Target, signal: AbortSignal): Promise<boolean>;
  /** Lists the replicas that match. Rejects with `server_unreachable`, and with `usage` for a client without a list. */
  listReplicas(): Promise<readonly ClientReplica[]>;
  close(): void;
}

const NO_RECORD: AttemptRecord = { recordMessage: () => {}, recordLoad: () => {}, end: () => {}, forgive: () => {} };

/** Creates a discovery that always returns the same endpoint. */
export function createFixedDiscovery(endpoint: string): Discovery {
  const target = { endpoint, replicaId: undefined };
  return {
    hasOthers: false,
    lastTarget: target,
    find: () => ({ kind: 'found', target }),
    findOther: () => undefined,
    beginAttempt: () => NO_RECORD,
    hasLeft: () => false,
    hasHealthyOther: () => false,
    isListed: async () => true,
    listReplicas: rejectList,
    close: () => {},
  };
}

async function rejectList(): Promise<never> {
  throw new AnyserveError('usage', 'this client has no list of replicas; give it a server and a capability');
}

/** Asks the API servers for a replica with a capability, for each attempt. */
export class RouteDiscovery implements Discovery {
  readonly hasOthers = true;
  readonly #api: ApiClient;
  readonly #query: CapabilityQuery;
  readonly #selection: RouteSelection | undefined;
  #lastTarget: Target | undefined;

  constructor(api: ApiClient, query: CapabilityQuery, selection?: RouteSelection) {
    this.#api = api;
    this.#query = query;
    this.#selection = selection;
  }

  get lastTarget(): Target | undefined {
    return this.#lastTarget;
  }

  async find({ excluded, timeoutMs, cancellation }: DiscoveryRequest): Promise<DiscoveryResult> {
    const { signal } = cancellation;
    const result = await this.#api.route(this.#query, excluded, { signal, timeoutMs, selection: this.#selection });
    return result.kind === 'found' ? { kind: 'found', target: result.route } : result;
  }

  findOther(): undefined {
    return undefined;
  }

  beginAttempt(target: Target): AttemptRecord {
    const recordMessage = (): void => {
      this.#lastTarget = target;
    };
    return {
      ...NO_RECORD,
      recordMessage,
      end: ({ kind }) => {
        if (kind === 'success') recordMessage();
        else if (kind === 'failure' && this.#lastTarget?.endpoint === target.endpoint) this.#lastTarget = undefined;
      },
    };
  }

  hasLeft(): boolean {
    return false;
  }

  hasHealthyOther(): boolean {
    return true;
  }

  async isListed({ replicaId, endpoint }: Target, signal: AbortSignal): Promise<boolean> {
    if (replicaId === undefined) return true;
    const found = await this.#api.findReplica(replicaId, { signal });
    return found !== undefined && found.replica.endpoint === endpoint && found.state !== 'suspect';
  }

  listReplicas(): Promise<never> {
    return rejectList();
  }

  close(): void {
    this.#api.close();
  }
}

/** Formats a query for messages, with a selector if there is one. See {@link formatQuery}. */
export function describeQuery(query: CapabilityQuery, where = ''): string {
  return where === '' ? formatQuery(query) : `${formatQuery(query)} where ${quote(where)}`;
}

/** Creates the error for a query that no replica matches, except possibly replicas with another protocol than the client's. */
export function createNoMatchError(
  query: CapabilityQuery,
  { where, otherProtocol }: { readonly where?: string | undefined; readonly otherProtocol?: Protocol | undefined } = {},
): AnyserveError {
  const queryText = describeQuery(query, where);
  if (!otherProtocol) return new AnyserveError('no_match', `no replica offers ${queryText}`);
  const [name, otherName] = [PROTOCOL_NAMES[getOtherProtocol(otherProtocol)], PROTOCOL_NAMES[otherProtocol]];
  const rest = `one does over ${otherName}: ${OTHER_PROTOCOL_ADVICE[otherProtocol]}`;
  return new AnyserveError('no_match', `no ${name} replica offers ${queryText}; ${rest}`);
}

/** How to find a replica with a protocol that the caller did not ask for. */
export const OTHER_PROTOCOL_ADVICE: Readonly<Record<Protocol, string>> = {
  http: 'find a URL with "anyserve route --url"',
  grpc: 'find an endpoint with "anyserve route"',
};
