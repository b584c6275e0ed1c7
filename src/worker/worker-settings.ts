import type { LeaseChange } from '../client/lease-change.js';
import type { Replica } from '../core/replica.js';
import type { Backend } from './backend.js';

/** How a worker serves, and where it registers. */
export interface WorkerSettings {
  readonly backends: readonly Backend[];
  /** A host name or address of this machine to listen on. */
  readonly host: string;
  /** A TCP port; 0 picks a free one. */
  readonly port: number;
  /** The replica's id. Default: made of the host name and the port. */
  readonly id?: string | undefined;
  /** The endpoint to register, when callers do not reach the worker where it listens. */
  readonly advertise?: string | undefined;
  /** The API servers to register with. With none, the worker does not register. */
  readonly servers: readonly string[];
  /** Maximum number of calls that run at once. Default: the most that a backend asks for, else 64. */
  readonly maxConcurrency?: number | undefined;
  /** Maximum number of calls that wait; others are refused. */
  readonly maxQueue: number;
  readonly maxMessageBytes: number;
  /** Maximum size of all requests together, in bytes, each from its first byte to the end of its call. */
  readonly maxDecodingBytes: number;
  /** Time for which a draining worker still accepts calls of clients that found it before it left, in ms. */
  readonly drainDelayMs: number;
  /** Timeout for calls in flight when the worker stops, in ms. */
  readonly drainTimeoutMs: number;
  readonly onLeaseChange?: ((change: LeaseChange, replica: Replica) => void) | undefined;
}

/** A running worker. */
export interface Worker {
  readonly replica: Replica;
  /** Resolves when the worker has stopped; rejects when it can no longer register. */
  readonly stopped: Promise<void>;
  /** Reads the models of the backends again and registers them. Resolves when the list has them. See {@link Backend.watchModels}. */
  update(): Promise<void>;
  /** Takes the worker out of routing, accepts calls for the drain delay, and then stops as {@link stop} does. */
  drain(): Promise<void>;
  /** Leaves the registry, finishes the calls in flight, and stops. A second call ends them at once. */
  stop(): Promise<void>;
}
