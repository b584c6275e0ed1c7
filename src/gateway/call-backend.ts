import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TableDiscovery } from '../client/balancing/table-discovery.js';
import type { Cancellation } from '../client/cancellation.js';
import type { ReplicaId } from '../core/ids.js';
import type { Protocol } from '../core/protocol.js';
import type { CallPath } from './call-paths.js';
import type { RequestModel } from './request-model.js';
import type { RelayEnd, RelayOptions } from './response-relay.js';

/** A call of a model, as a backend needs it. */
export interface BackendCall {
  readonly request: IncomingMessage;
  readonly path: CallPath;
  /** Query string with its `?`. */
  readonly search: string;
  /** Name of the model at the replicas. */
  readonly target: string;
  /** The replicas of the target that the call can go to. */
  readonly discovery: TableDiscovery;
  readonly read: RequestModel;
  /** The body, with the name of the target as its model. */
  readonly body: readonly Buffer[];
  readonly affinity: string | undefined;
  /** Name of the caller's key. */
  readonly caller: string | undefined;
  /** Called when an attempt begins. */
  readonly onAttempt: () => void;
  /** Receives the cancellation of the call and of its response. */
  readonly onBegin: (cancellation: Cancellation) => void;
}

/** A response that has begun. No other replica is tried any more. */
export interface OpenResponse {
  readonly replicaId: ReplicaId | undefined;
  readonly status: number;
  readonly isEventStream: boolean;
  /** Whether the request stays in memory until the response ends. */
  readonly keepsRequest: boolean;
  /** Sends the response to the caller. `isAbandoned` returns whether the caller has closed the connection. */
  send(
    response: ServerResponse,
    options: RelayOptions,
    isAbandoned: () => boolean,
    onEnd: (end: RelayEnd) => void,
  ): void;
}

/** Calls the replicas that speak one protocol. */
export interface CallBackend {
  readonly protocol: Protocol;
  /** Returns whether the replicas can be called with a request for a path. */
  supports(path: CallPath): boolean;
  /** Makes a call. Resolves when a replica's response has begun. Rejects with an `AnyserveError`. */
  open(call: BackendCall): Promise<OpenResponse>;
}
