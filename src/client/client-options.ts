import type { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { ReplicaLoad } from '../core/load.js';
import { checkOptionTypes, type OptionTypes } from '../core/option-types.js';
import { checkCallTimeout, checkCounts, checkTimes, type ServerToken, type ValueOrGetter } from '../core/options.js';
import type { CallEvent, Clock, Random, Tracer } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import type { Parameters, RequestedOutput } from '../inference/inference-data.js';
import { MAX_MESSAGE_BYTES } from '../inference/message-limits.js';
import type { Cancellation } from './cancellation.js';

/** Clock and source of randomness of a client. */
export interface ClientEnvironment {
  readonly clock: Clock;
  readonly random: Random;
}

/** Where a client finds targets: in a table that the API servers keep up to date, or by a request for each attempt. */
export type DiscoveryKind = 'table' | 'route';

/** Name of a policy that picks the replica of a call. */
export type PickerName = 'p2c' | 'random' | 'round-robin' | 'least-request' | 'affinity';

/** A failed attempt of a call that is followed by another attempt. */
export interface FailedAttempt {
  /** Number of the attempt, from 1. */
  readonly attempt: number;
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
  readonly error: AnyserveError;
  /** Target of the next attempt. It is the same replica if no other replica matches. */
  readonly next: { readonly endpoint: string; readonly replicaId: ReplicaId | undefined };
}

/** Options of a client. Give either `server` and `capability`, to discover replicas, or `endpoint`, to call one replica. */
export interface ClientOptions {
  /** URL of an API server, or of several. Calls go to the replicas of all of them. */
  readonly server?: string | readonly string[] | undefined;
  /** Capability that the replica must have. Required with `server`. */
  readonly capability?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** Selector that the replica must match in addition to the capability, such as `ctx>=8192, zone in (a,b)`. */
  readonly where?: string | undefined;
  /** Selector of the replicas that are called first, if they match. The others are called when none of them can be. */
  readonly prefer?: string | undefined;
  /** Bearer token for the API servers, or a function that returns the one for a server. */
  readonly token?: ServerToken | undefined;
  /** Trusted authorities and client certificate, for API servers with `https` and for calls to replicas over TLS. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** Whether replicas are called over TLS. Default: true if `tls` is given, else false. */
  readonly callTls?: boolean | undefined;
  /** Endpoint of a replica, `host:port`, to call without an API server. */
  readonly endpoint?: string | undefined;
  /** Bearer token for the replicas. */
  readonly callToken?: ValueOrGetter<string> | undefined;
  /**
   * Timeout for a call with all its attempts, in ms. 0 fails at once. Default: 60,000; 600,000 for an inference with an
   * input `prompt`, `messages` or `text_input`; 3,600,000 for a stream.
   */
  readonly timeoutMs?: number | undefined;
  /** Timeout for the first message of a stream, in ms. 0: the timeout of the whole stream. Default: 600,000. */
  readonly firstMessageTimeoutMs?: number | undefined;
  /** Maximum time between two messages of a stream, in ms. 0: the timeout of the whole stream. Default: 120,000. */
  readonly streamIdleTimeoutMs?: number | undefined;
  /** Maximum size of a message that is sent or received, in bytes. Default: 64 MiB. */
  readonly maxMessageBytes?: number | undefined;
  /** Called for each failed attempt that is followed by another attempt. */
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  /** Called when an attempt of a call starts, and when it ends, with its target, code and duration. */
  readonly onAttempt?: ((event: CallEvent) => void) | undefined;
  /** Traces the attempts of calls, and adds headers to their requests. */
  readonly tracer?: Tracer | undefined;
  /**
   * How the replica of each call is picked: `p2c` (the faster and less busy of two random ones, or of three if those are equal or slow), `random`, `round-robin`,
   * `least-request` (the fewest calls in progress), or `affinity` (calls with the same key go to the same replica). Default:
   * `p2c`.
   */
  readonly pick?: PickerName | undefined;
  /**
   * Time without a response, in ms, after which an inference is also sent to a second replica. The replica that responds first
   * is used (for a stream: with its first message), and the other call is cancelled. At most 5 % of the calls are sent twice.
   * Only for models whose calls can be repeated without harm. Default: never.
   */
  readonly hedgeAfterMs?: number | undefined;
  /**
   * Whether a call without a match waits while the API server is warming up. An API server that has just started doesn't
   * know yet the replicas that are still reconnecting. Default: true.
   */
  readonly waitWhileWarming?: boolean | undefined;
}

/** A replica that matches the query of a client, with what the client has observed of it. */
export interface ClientReplica {
  readonly id: ReplicaId;
  readonly endpoint: string;
  /** `ready`, `unready`, `draining` or `suspect`. Newer API servers can send others. */
  readonly state: string;
  /** Whether an operator has taken it out of service. */
  readonly isCordoned: boolean;
  /** Share of the calls: twice the weight, twice the calls. */
  readonly weight: number;
  readonly capabilities: readonly Readonly<Record<string, string>>[];
  /** Number of calls of this client in progress. */
  readonly callsInProgress: number;
  /** Average time to the first byte of a response, in ms; undefined before the first one. */
  readonly latencyMs: number | undefined;
  /** The newest load that the replica or an API server has reported; undefined if there is none. */
  readonly load: ReplicaLoad | undefined;
  /** Age of the load, in ms. */
  readonly loadAgeMs: number | undefined;
  /** Time for which it gets no calls because it failed too often, in ms; 0 if it gets calls. */
  readonly ejectedForMs: number;
  /** Time for which it asked not to be called, in ms. */
  readonly pushedBackForMs: number;
}

/** The options of a call that its attempts depend on. */
export interface CallSettings extends Pick<InferOptions, 'timeoutMs' | 'signal' | 'affinity' | 'retryOnFailure'> {
  /** Name of the caller for whom a gateway makes the call. Each caller has a retry budget. Default: one for all calls. */
  readonly caller?: string | undefined;
  /** Receives the cancellation of the call, which ends its attempts and then its response. It costs less than a signal. */
  readonly onBegin?: ((cancellation: Cancellation) => void) | undefined;
  /**
   * Whether the call fails at once, with a `BusyError`, if all replicas that match are at their limit or ask not to be called.
   * Default: it waits for replicas that ask not to be called, and limits are not looked at.
   */
  readonly failWhenBusy?: boolean | undefined;
}

/** Options of every call. */
export interface RequestOptions {
  /** Timeout for the call with all its attempts, in ms. Default: the client's `timeoutMs`. */
  readonly timeoutMs?: number | undefined;
  /** Cancels the call, which then rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of a call that is about a model. */
export interface ModelRequestOptions extends RequestOptions {
  /** Version of the model. Default: the server chooses. */
  readonly version?: string | undefined;
}

/** Options of an inference. */
export interface InferOptions extends ModelRequestOptions {
  /** Key of the call for `pick: 'affinity'`, such as the id of a session. Without a key, the call is picked as `p2c` does. */
  readonly affinity?: string | undefined;
  /** Id of the request, which the response repeats. */
  readonly id?: string | undefined;
  readonly parameters?: Parameters | undefined;
  /** Requested outputs, as names or with parameters. Default: all. */
  readonly outputs?: readonly (string | RequestedOutput)[] | undefined;
  /** Sends the tensors as raw bytes. Servers that support it respond with raw bytes too. */
  readonly raw?: boolean | undefined;
  /** Whether a failed call is retried on another replica. Without `server` there is no other replica. Default: true. */
  readonly retryOnFailure?: boolean | undefined;
}

/** Options of a streaming inference. */
export interface InferStreamOptions extends InferOptions {
  /**
   * Whether to make a unary call if the replica can't stream, and yield its response as the only message. Default: false;
   * the call then fails with `unimplemented`.
   */
  readonly fallBackToUnary?: boolean | undefined;
  /** Maximum size of all messages of the stream together, in bytes, for callers that collect them. Default: no limit. */
  readonly maxResponseBytes?: number | undefined;
}

/** Types of the options of a client. */
const CLIENT_OPTION_TYPES: OptionTypes<ClientOptions> = {
  server: 'string or strings',
  capability: 'scalars',
  where: 'string',
  prefer: 'string',
  token: 'secret',
  tls: 'tls',
  callTls: 'flag',
  endpoint: 'string',
  callToken: 'secret',
  timeoutMs: 'number',
  firstMessageTimeoutMs: 'number',
  streamIdleTimeoutMs: 'number',
  maxMessageBytes: 'number',
  hedgeAfterMs: 'number',
  pick: 'string',
  onRetry: 'function',
  onAttempt: 'function',
  tracer: 'tracer',
  waitWhileWarming: 'flag',
};

/** Checks the options of a client. Throws `usage` with the option's name. */
export function checkClientOptions(options: ClientOptions): void {
  checkOptionTypes('Client', options, CLIENT_OPTION_TYPES);
  const { timeoutMs, firstMessageTimeoutMs, streamIdleTimeoutMs, hedgeAfterMs, maxMessageBytes } = options;
  checkCallTimeout(timeoutMs);
  checkTimes({ firstMessageTimeoutMs, streamIdleTimeoutMs, hedgeAfterMs });
  checkCounts({ maxMessageBytes }, 1, MAX_MESSAGE_BYTES);
}

const REQUEST_OPTION_TYPES: OptionTypes<RequestOptions> = { timeoutMs: 'number', signal: 'signal' };

const MODEL_REQUEST_OPTION_TYPES: OptionTypes<ModelRequestOptions> = { ...REQUEST_OPTION_TYPES, version: 'string' };

const INFER_OPTION_TYPES: OptionTypes<InferOptions> = {
  ...MODEL_REQUEST_OPTION_TYPES,
  affinity: 'string',
  id: 'string',
  parameters: 'object',
  outputs: 'names or objects',
  raw: 'flag',
  retryOnFailure: 'flag',
};

const INFER_STREAM_OPTION_TYPES: OptionTypes<InferStreamOptions> = {
  ...INFER_OPTION_TYPES,
  fallBackToUnary: 'flag',
  maxResponseBytes: 'number',
};

/** The calls of a client, and the types of their options. */
const CALL_OPTION_TYPES = {
  infer: INFER_OPTION_TYPES,
  inferStream: INFER_STREAM_OPTION_TYPES,
  serverLive: REQUEST_OPTION_TYPES,
  serverReady: REQUEST_OPTION_TYPES,
  serverMetadata: REQUEST_OPTION_TYPES,
  modelReady: MODEL_REQUEST_OPTION_TYPES,
  modelMetadata: MODEL_REQUEST_OPTION_TYPES,
};

/** Name of a method of a client that makes a call. */
export type CallMethod = keyof typeof CALL_OPTION_TYPES;

/** Checks the options of one call. Throws `usage` with the option's name. */
export function checkCallOptions(method: CallMethod, options: InferStreamOptions): void {
  checkOptionTypes<RequestOptions>(method, options, CALL_OPTION_TYPES[method]);
  if (options.timeoutMs !== undefined) checkCallTimeout(options.timeoutMs);
  if (options.maxResponseBytes !== undefined) checkCounts({ maxResponseBytes: options.maxResponseBytes }, 1);
}
