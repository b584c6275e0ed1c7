import type { LeaseChange } from '../client/lease-change.js';
import type { Replica } from '../core/replica.js';
import type { Backend } from './backend.js';

/** Settings of a worker: the models it serves, where it listens and registers, and its limits. */
export interface WorkerSettings {
  readonly backends: readonly Backend[];
  /** Host name or address of this machine to listen on. */
  readonly host: string;
  /** TCP port. 0 picks a free port. */
  readonly port: number;
  /** Replica id. Default: derived from the host name and the port. */
  readonly id?: string | undefined;
  /** Endpoint to register. Default: the host and port that the worker listens on. */
  readonly advertise?: string | undefined;
  /** Share of the calls, from 1 to 1,000: twice the weight, twice the calls. Default: 1. */
  readonly weight?: number | undefined;
  /** API servers to register with. If empty, the worker does not register. */
  readonly servers: readonly string[];
  /** Maximum number of calls that run at once. Default: the largest value of a backend, or 64. */
  readonly maxConcurrency?: number | undefined;
  /** Maximum number of calls that wait. Further calls are rejected. */
  readonly maxQueue: number;
  readonly maxMessageBytes: number;
  /** Maximum memory of all requests together, in bytes. A request counts from its first byte to the end of its call. */
  readonly maxDecodingBytes: number;
  /** Time for which a draining worker still accepts calls from clients that found it earlier, in ms. */
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
  /**
   * Reads the models of the backends again and registers them. Resolves when the registry has them. See
   * {@link Backend.watchModels}.
   */
  update(): Promise<void>;
  /** Removes the worker from routing, accepts calls for the drain delay, and then stops as {@link stop} does. */
  drain(): Promise<void>;
  /** Deregisters, finishes the calls in flight, and stops. A second call ends them immediately. */
  stop(): Promise<void>;
}
