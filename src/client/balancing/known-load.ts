import type { Metadata } from '@grpc/grpc-js';
import { type ReplicaLoad, toLoad } from '../../core/load.js';
import { LOAD_KEYS } from '../../inference/service-definition.js';

/** Maximum age of a load that picks depend on, in ms. */
export const MAX_LOAD_AGE_MS = 10_000;

/**
 * Age that a load from an API server is taken to have, in ms. The server sends changes every 5 s, and replicas report them every
 * 3 s. A load in a response is newer than that.
 */
export const SERVER_LOAD_AGE_MS = 5000;

/** The newest known load of a replica. */
export class KnownLoad {
  #load: ReplicaLoad | undefined;
  #atMs = Number.NEGATIVE_INFINITY;

  /** Records the load at a time. An older one than the known one is ignored. */
  record(load: ReplicaLoad, atMs: number): void {
    if (atMs < this.#atMs) return;
    this.#load = load;
    this.#atMs = atMs;
  }

  /** Returns the newest load and its age; undefined if none is known. */
  describe(nowMs: number): { readonly load: ReplicaLoad; readonly ageMs: number } | undefined {
    return this.#load && { load: this.#load, ageMs: nowMs - this.#atMs };
  }

  /** Whether calls waited in the newest load, of any age. It is checked first, because reading a clock takes longer. */
  get isWaiting(): boolean {
    return this.#load !== undefined && this.#load.waiting > 0;
  }

  /** Returns the load, if it is at most 10 s old. */
  getRecent(nowMs: number): ReplicaLoad | undefined {
    return nowMs - this.#atMs <= MAX_LOAD_AGE_MS ? this.#load : undefined;
  }
}

/** Reads the load from the trailing metadata of a response. Returns undefined if there is none, or it isn't valid. */
export function readLoad(trailers: Metadata): ReplicaLoad | undefined {
  const running = readNumber(trailers, LOAD_KEYS.running);
  if (running === undefined) return undefined;
  return toLoad({
    running,
    waiting: readNumber(trailers, LOAD_KEYS.waiting),
    limit: readNumber(trailers, LOAD_KEYS.limit),
  });
}

function readNumber(trailers: Metadata, key: string): number | undefined {
  const [value] = trailers.get(key);
  return typeof value === 'string' && /^\d{1,10}$/.test(value) ? Number(value) : undefined;
}
