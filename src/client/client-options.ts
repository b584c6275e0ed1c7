import type { AnyserveError } from '../core/errors.js';
import type { ReplicaId } from '../core/ids.js';
import type { CallEvent } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import type { ValueOrGetter } from '../core/value-or-getter.js';
import type { Parameters, RequestedOutput } from '../inference/inference-data.js';

/** An attempt of a call that failed and is followed by another. */
export interface FailedAttempt {
  /** The number of the attempt, from 1. */
  readonly attempt: number;
  readonly endpoint: string;
  readonly replicaId: ReplicaId | undefined;
  readonly error: AnyserveError;
  /** Where the next attempt goes: to the same replica where no other matches. */
  readonly next: { readonly endpoint: string; readonly replicaId: ReplicaId | undefined };
}

/** How a client finds its replica: by asking API servers for a capability, or by being told the endpoint. */
export interface ClientOptions {
  /** The URL of an API server, or several that are asked in turn. */
  readonly server?: string | readonly string[] | undefined;
  /** What the replica must be able to do; goes with `server`. */
  readonly capability?: Readonly<Record<string, string | number | boolean>> | undefined;
  /** The bearer token to show the API servers. */
  readonly token?: ValueOrGetter<string> | undefined;
  /** Whom to trust, and what to show: at API servers behind `https`, and at replicas, which are then called over TLS. */
  readonly tls?: ValueOrGetter<ClientTls> | undefined;
  /** Whether replicas are called over TLS; if `tls` is given, unless told. */
  readonly callTls?: boolean | undefined;
  /** The endpoint of a replica, `host:port`, to call without asking anyone. */
  readonly endpoint?: string | undefined;
  /** The bearer token to show the replicas. */
  readonly callToken?: ValueOrGetter<string> | undefined;
  /**
   * How long a call may take, all its tries together, in milliseconds; 0 fails at once. Default: 60,000; 600,000 for one
   * with an input `prompt`, `messages` or `text_input`; 3,600,000 for a stream.
   */
  readonly timeoutMs?: number | undefined;
  /** How long the first part of a stream may take, in milliseconds; 0: as long as the stream. Default: 600,000. */
  readonly firstPartTimeoutMs?: number | undefined;
  /** How long a stream may be silent between two parts, in milliseconds; 0: as long as the stream. Default: 120,000. */
  readonly silenceTimeoutMs?: number | undefined;
  /** The largest message taken or sent, in bytes; 64 MiB unless told. */
  readonly maxMessageBytes?: number | undefined;
  /** Told of each try that failed and is followed by another. */
  readonly onRetry?: ((attempt: FailedAttempt) => void) | undefined;
  /** Called when an attempt of a call starts, and when it ends: with its target, code and duration. */
  readonly onAttempt?: ((event: CallEvent) => void) | undefined;
  /**
   * Whether a call that nothing matches waits a little for replicas that may be on their way back, when the API server
   * has just started; true unless told.
   */
  readonly waitWhileWarming?: boolean | undefined;
}

/** What every call can be told. */
export interface RequestOptions {
  /** How long it may take, all its tries together, in milliseconds; the client's own limit unless told. */
  readonly timeoutMs?: number | undefined;
  /** Cancels it; the call rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** What an inference can be told. */
export interface InferOptions extends RequestOptions {
  /** The model's version; the server chooses unless told. */
  readonly version?: string | undefined;
  /** An id that the answer repeats. */
  readonly id?: string | undefined;
  readonly parameters?: Parameters | undefined;
  /** The outputs wanted, by name or with parameters of their own. Default: all. */
  readonly outputs?: readonly (string | RequestedOutput)[] | undefined;
  /** Sends the tensors as raw bytes, as servers that answer raw do. */
  readonly raw?: boolean | undefined;
  /** Whether a failed call is tried at another replica; true unless told. Only discovery finds others. */
  readonly retryOnFailure?: boolean | undefined;
}

/** What an inference in parts can be told. */
export interface InferStreamOptions extends InferOptions {
  /** Whether a replica that cannot stream answers whole, as the one part; else that fails with `unimplemented`. */
  readonly orWhole?: boolean | undefined;
  /** Maximum size of all parts together, in bytes, for whoever keeps them. Default: no limit. */
  readonly maxAnswerBytes?: number | undefined;
}
