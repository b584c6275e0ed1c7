import type { ErrorCode } from './errors.js';
import type { Endpoint, InstanceId, LeaseId, RegistryId, ReplicaId, ServerId } from './ids.js';
import type { RemovalCause } from './registry-changes.js';
import type {
  DeclaredState,
  InferredEnd,
  LeaseEnd,
  Registration,
  RegistrationChange,
  Replica,
  ReplicaState,
} from './replica.js';
import type { Scope } from './scope.js';
import type { HostCounts } from './self-preservation.js';

/** Source of time. */
export interface Clock {
  /** Monotonic time in ms, from an arbitrary origin. */
  nowMs(): number;
  /** Wall-clock time in ms since 1970, for timestamps in responses. It can jump. */
  epochMs(): number;
  /**
   * Runs a task once after a delay. With a delay of 0, runs it after the work that is already queued. The returned function
   * cancels the task. A background task does not keep the process alive.
   */
  schedule(delayMs: number, task: () => void, options?: { readonly background?: boolean }): () => void;
}

/** Source of randomness. */
export interface Random {
  /** Returns a number from 0 to 1, excluding 1. */
  fraction(): number;
}

/** Source of new ids. */
export interface Ids {
  /** Returns a unique lease id that cannot be guessed. */
  createLeaseId(): LeaseId;
  /** Returns a new id for an API server. */
  createServerId(): ServerId;
  /** Returns a new id for a registry. */
  createRegistryId(): RegistryId;
  /** Returns a new id for a process that registers a replica. */
  createInstanceId(): InstanceId;
}

/** The metrics of a process, as text. */
export interface MetricsSource {
  readonly contentType: string;
  render(): Promise<string>;
}

/** Name of the event that a line of a log reports, and its fields in snake_case, for programs that read the log. */
export type LogDetails = { readonly event: string } & Readonly<Record<string, string | number | undefined>>;

/** Log of a role. Each call writes one line. The message has all details in words. */
export interface Log {
  info(message: string, details?: LogDetails): void;
  warn(message: string, details?: LogDetails): void;
}

/** Changes in the registry. `host` is the address of the lease's holder. */
export type RegistryEvent =
  | { readonly kind: 'registered'; readonly replicaId: ReplicaId; readonly endpoint: Endpoint }
  | { readonly kind: 'state_changed'; readonly replicaId: ReplicaId; readonly state: ReplicaState }
  /** `count` is the number of capability objects the replica offers now. */
  | { readonly kind: 'capabilities_changed'; readonly replicaId: ReplicaId; readonly count: number }
  /** An operator's decision takes effect: no calls are routed to the replica. `reason` is empty if none was given. */
  | { readonly kind: 'cordoned'; readonly replicaId: ReplicaId; readonly reason: string }
  | { readonly kind: 'uncordoned'; readonly replicaId: ReplicaId }
  | {
      readonly kind: 'removed';
      readonly replicaId: ReplicaId;
      /** Undefined when the store doesn't know why. */
      readonly reason: RemovalCause | undefined;
      /** Undefined for a lease that another API server granted. */
      readonly lease: EndedLease | undefined;
    }
  /**
   * The replica seems dead and is kept as a last resort. Emitted in every state, but only a `ready` replica becomes
   * `suspect`.
   */
  | {
      readonly kind: 'suspected';
      readonly replicaId: ReplicaId;
      readonly host: string;
      readonly reason: InferredEnd;
    }
  /** A suspected replica gave a sign of life after `silentMs`, and has the state `state` again. */
  | {
      readonly kind: 'suspicion_ended';
      readonly replicaId: ReplicaId;
      readonly host: string;
      readonly state: DeclaredState;
      readonly silentMs: number;
    }
  /** A lease that was kept under suspicion was renewed `lateMs` after its TTL had passed. Follows `suspicion_ended`. */
  | { readonly kind: 'renewed_late'; readonly replicaId: ReplicaId; readonly host: string; readonly lateMs: number }
  /** Newer registrations took this id again and again: two processes probably use it. At most once a minute per id. */
  | { readonly kind: 'id_conflict'; readonly replicaId: ReplicaId }
  | {
      readonly kind: 'registration_refused';
      /** Undefined when the request didn't name one. */
      readonly replicaId: ReplicaId | undefined;
      readonly host: string;
      readonly code: ErrorCode;
      readonly reason: string;
      /** The scope of the token that the request had. Undefined before the token is known. */
      readonly scope?: Scope | undefined;
    }
  /** Most hosts went silent at once, or this process was paused: silent replicas are suspected instead of removed. */
  | { readonly kind: 'self_preservation_entered' }
  | { readonly kind: 'self_preservation_left' }
  /** The store failed to write a change that a timer started, or to receive its first complete list. */
  | { readonly kind: 'store_failed'; readonly error: string }
  /** The store goes on, but something about it doesn't work, such as the connection to a shared store. */
  | { readonly kind: 'store_degraded'; readonly problem: string }
  /** Everything about the store works again. */
  | { readonly kind: 'store_recovered' };

/** Events of the API server around the registry. */
export type ServerEvent =
  /** A capability object has a list as a value. A query has one value per key, so it never matches a list. */
  | { readonly kind: 'list_value_offered'; readonly replicaId: ReplicaId; readonly capability: string }
  /** Callers can't reach the endpoint that a peer registers. */
  | {
      readonly kind: 'unreachable_endpoint';
      readonly replicaId: ReplicaId;
      readonly endpoint: Endpoint;
      readonly host: string;
      readonly reason: string;
    }
  /** The registration of a closed connection could not be removed. */
  | { readonly kind: 'release_failed'; readonly replicaId: ReplicaId; readonly error: string }
  /** Connections can't be inspected on this machine, so dead hosts are found only by TTL or TCP timeout. */
  | { readonly kind: 'dead_peer_detection_unavailable'; readonly error: string }
  /** One check failed. The next one is made as usual; consecutive failures are one event. */
  | { readonly kind: 'dead_peer_detection_failed'; readonly error: string }
  /** A request for a lease of another API server could not be forwarded to it. `owner` is the URL of that server. */
  | { readonly kind: 'forwarding_failed'; readonly owner: string; readonly error: string }
  | { readonly kind: 'request_failed'; readonly method: string; readonly target: string; readonly error: string }
  /** Anyone who can reach `host` can register replicas. */
  | { readonly kind: 'registration_unprotected'; readonly host: string }
  /** The leases of this server are ended over `durationMs`. */
  | { readonly kind: 'drain_started'; readonly leases: number; readonly durationMs: number }
  | { readonly kind: 'drain_ended'; readonly leases: number; readonly ended: number };

/** Duration of a lease, and time from the last sign of life of its holder to its end. */
export interface EndedLease {
  readonly host: string;
  readonly livedMs: number;
  readonly silentMs: number;
}

/** Events of one call's attempts. A call that is retried or hedged has several. */
export type CallEvent =
  | { readonly kind: 'attempt_started'; readonly target: AttemptTarget; readonly attempt: number }
  | {
      readonly kind: 'attempt_ended';
      readonly target: AttemptTarget;
      /** Number of the attempt within its call, from 1. */
      readonly attempt: number;
      readonly code: 'ok' | ErrorCode;
      readonly durationMs: number;
    };

/**
 * Traces the attempts of calls, for example as spans of OpenTelemetry. It's called in the call itself, so it must be fast. An
 * error that it throws does not become the call's; it is reported as an uncaught exception.
 */
export interface Tracer {
  /** Called when a call starts. The result then traces its attempts. Default: only attempts are traced. */
  startCall?(call: { readonly model: string | undefined }): CallTrace;
  /** Called when an attempt starts. */
  startAttempt(attempt: { readonly target: AttemptTarget; readonly attempt: number }): AttemptTrace;
}

/** The trace of one call with all its attempts. */
export interface CallTrace extends Pick<Tracer, 'startAttempt'> {
  /** Called once when the call has ended. Its result is that of its last attempt. */
  end(): void;
}

/** Traces the calls that a worker or a gateway serves. */
export interface ServerTracer {
  /**
   * Handles a call within its trace, which continues that of the caller if the headers name one. `handle` receives a function that
   * ends the trace.
   */
  serve<T>(call: ServedCall, handle: (end: EndTrace) => T): T;
  /** Adds details to the trace of the call that is handled now. */
  annotate(details: TraceDetails): void;
}

/** A call that is served, by its method, such as `ModelInfer` or `POST`. */
export interface ServedCall {
  readonly protocol: 'grpc' | 'http';
  readonly method: string;
  /** Returns the value of a request header or of metadata. */
  readonly getHeader: (name: string) => string | undefined;
}

/** Details of a trace, by the names of OpenTelemetry's conventions. */
export type TraceDetails = Readonly<Record<string, string | number | undefined>>;

/** Ends a trace. `error` is the code or the reason of a failure. */
export type EndTrace = (result: {
  readonly error?: string | undefined;
  readonly details?: TraceDetails;
  readonly name?: string;
}) => void;

/** The trace of one attempt. */
export interface AttemptTrace {
  /** Headers to send with the request (gRPC: metadata), such as `traceparent`. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** Called once when the attempt has ended. */
  end(result: { readonly code: 'ok' | ErrorCode; readonly durationMs: number }): void;
}

/** The replica that an attempt calls. A client of a fixed endpoint doesn't know its id. */
export interface AttemptTarget {
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
}

/** Receives the events of registry, server and calls. Logs, metrics and history subscribe to it. */
export interface Events<Event = RegistryEvent | ServerEvent | CallEvent> {
  /** Delivers the event to every subscriber before it returns, so subscribers can stamp it with the current time. */
  emit(event: Event): void;
}

/** Events of a store, in the order in which they happened. */
export type StoreEvent<R extends Replica = Replica> =
  | { readonly kind: 'put'; readonly registration: Registration<R> }
  /** The registration after a change of its state, its capabilities or its cordon. */
  | { readonly kind: 'change'; readonly registration: Registration<R> }
  /**
   * A registration that this process put is only in this process, for this reason, or (undefined) is shared again. Stores that
   * no other process shares have no such events.
   */
  | { readonly kind: 'sharing'; readonly lease: LeaseId; readonly problem: string | undefined }
  | {
      readonly kind: 'delete';
      readonly lease: LeaseId;
      readonly replicaId: ReplicaId;
      /** Undefined when the store doesn't know why: one that mirrors other servers sees only that a registration is gone. */
      readonly end?: LeaseEnd | undefined;
    };

/** Returns whether a registration can replace the present one of its replica id. */
export type CanReplace = (present: Registration) => boolean;

/** A lease that another API server granted. */
export type ForeignLease<R extends Replica = Replica> = {
  /** The name of the lease in the registrations and events of the store. Not the lease itself, if the store keeps that secret. */
  readonly alias: LeaseId;
} & (
  | { readonly kind: 'shared'; readonly registration: Registration<R> }
  /** No shared registration has the lease. Only the process that its id names can tell whether it exists. */
  | { readonly kind: 'unshared'; readonly owner: LeaseOwner }
  | { readonly kind: 'none' }
  /** The store does not know at present: it can lack registrations of other processes. */
  | { readonly kind: 'unsettled' }
);

/** The process that has granted a lease, or that the id of the lease names. */
export interface LeaseOwner {
  /** URL at which it takes requests. Undefined if it has not reported one. */
  readonly url: string | undefined;
  /** Time since the store lost it, in ms: it has ended, or cannot reach the store. Undefined if the store has it. */
  readonly lostForMs: number | undefined;
}

/**
 * Keeps the registrations: at most one for each replica id, the newest. Several registries can share a store: each applies the
 * registrations of all, through the same events. The creator of a store starts and closes it. `in out`: a store of one type of
 * replica can't be used as a store of another, because its subscribers receive what others put.
 */
export interface RegistrationStore<in out R extends Replica = Replica> {
  /** Id of the registry: API servers that share a store share it. Undefined until the store knows it. */
  readonly registryId: RegistryId | undefined;
  /**
   * Resolves when subscribers have received the first complete list of registrations, or when the store goes on without one
   * because it has waited long enough. Rejects when there won't be one. Later calls have the same result.
   */
  start(): Promise<void>;
  /**
   * Stores a registration. Atomically replaces the one with the same replica id, unless `canReplace` returns false for it: then
   * rejects with `permission_denied`. A shared store asks about each registration that it finds until this one is stored.
   */
  put(registration: Registration<R>, canReplace?: CanReplace): Promise<void>;
  /**
   * Atomically changes the registration with this lease. Does nothing if it was replaced or deleted. Keeps a cordon that is
   * newer than the one of the change.
   */
  change(lease: LeaseId, change: RegistrationChange<R>): Promise<void>;
  /** Deletes the registration with this lease. Does nothing if it was replaced or deleted. */
  delete(lease: LeaseId, end: LeaseEnd): Promise<void>;
  /**
   * Calls the listener immediately for each existing registration, and later for each change. The returned function
   * unsubscribes.
   */
  subscribe(listener: (event: StoreEvent<R>) => void): () => void;
  /** Id of this process among those that share the store. Lease ids name it. Undefined for a store that no other process shares. */
  readonly serverId?: ServerId | undefined;
  /** Sets the URL at which the other processes reach this one. Default: the owner's URL of the newest registration. */
  publishUrl?(url: string): void;
  /** Looks up a lease that this process has not granted. Default: no other server has leases. */
  findForeignLease?(lease: LeaseId): Promise<ForeignLease<R>>;
  /**
   * Maximum age of what the store knows about the registrations of other processes, in ms. Infinity before it has received a
   * complete list. Undefined for a store that no other process shares: it is always up to date.
   */
  readonly stalenessMs?: number | undefined;
  /** Sets the function that counts the hosts of this process, for the other processes that share the store. */
  publishHosts?(count: () => HostCounts): void;
  /** Returns the sum of the counts that the other processes have published recently. Default: no hosts. */
  countOtherHosts?(): HostCounts;
  /** Whether the store can be reached over the network at present. Undefined for a store in this process. */
  readonly isConnected?: boolean | undefined;
  /**
   * Returns what doesn't work at present, each in a few words. The store accepts registrations all the same: they stay in
   * this process. Default: nothing.
   */
  listProblems?(): readonly string[];
  /** Releases the store's resources and ends all subscriptions. Does not end leases. */
  close(): Promise<void>;
}
