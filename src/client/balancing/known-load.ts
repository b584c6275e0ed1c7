import type { Metadata } from '@grpc/grpc-js';
import { type ReplicaLoad, toLoad } from '../../core/load.js';
import { LOAD_KEYS } from '../../inference/trailing-metadata.js';

/** Maximum age of a load in a response, in ms. The replica does not report a change until the next response. */
const MAX_RESPONSE_AGE_MS = 10_000;

/**
 * Maximum age of a load from an API server, in ms: twice the time after which it repeats an unchanged one. It sends changes
 * within 5 s, and replicas report them every 3 s.
 */
const MAX_SERVER_AGE_MS = 60_000;

/** Maximum time until a change of a load is known from an API server, in ms. Until then, the load in a response is newer. */
const SERVER_DELAY_MS = 5000;

/** A load, and this client's calls among those that it counts. */
interface LoadReport {
  readonly load: ReplicaLoad;
  readonly ownCalls: number;
  readonly atMs: number;
}

/**
 * The newest known load of a replica: the calls of all its clients. This client's calls are counted as they are now, not as they
 * were at the report. Otherwise, a replica that reported its load during a burst of calls would seem busy after it.
 */
export class KnownLoad {
  #fromResponse: LoadReport | undefined;
  #fromServer: LoadReport | undefined;

  /** Records the load in a response. `ownCalls`: the calls of this client that were in progress then. */
  recordResponse(load: ReplicaLoad, ownCalls: number, atMs: number): void {
    this.#fromResponse = { load, ownCalls, atMs };
  }

  /** Records the load that an API server sent. */
  recordListed(load: ReplicaLoad, ownCalls: number, atMs: number): void {
    this.#fromServer = { load, ownCalls, atMs: atMs - SERVER_DELAY_MS };
  }

  /** Returns the load that was reported last, and its age; undefined if there is none. */
  describe(nowMs: number): { readonly load: ReplicaLoad; readonly ageMs: number } | undefined {
    const newest = this.#findNewest(nowMs);
    return newest && { load: newest.load, ageMs: nowMs - newest.atMs };
  }

  /** Whether calls waited in a report, of any age. It is checked first, because reading a clock takes longer. */
  get isWaiting(): boolean {
    return (this.#fromResponse?.load.waiting ?? 0) > 0 || (this.#fromServer?.load.waiting ?? 0) > 0;
  }

  /** Whether a report, of any age, had a limit. It is checked first, because reading a clock takes longer. */
  get hasLimit(): boolean {
    return this.#fromResponse?.load.limit !== undefined || this.#fromServer?.load.limit !== undefined;
  }

  /** Estimates the current load, if a report is recent enough. `ownCalls`: the calls of this client that are in progress. */
  estimate(ownCalls: number, nowMs: number): ReplicaLoad | undefined {
    const newest = this.#findNewest(nowMs);
    if (!newest) return undefined;
    const maxAgeMs = newest === this.#fromServer ? MAX_SERVER_AGE_MS : MAX_RESPONSE_AGE_MS;
    return nowMs - newest.atMs <= maxAgeMs ? replaceOwnCalls(newest.load, newest.ownCalls, ownCalls) : undefined;
  }

  /** A server sends changes, so what it sent last is newer than an old response. */
  #findNewest(nowMs: number): LoadReport | undefined {
    const [response, listed] = [this.#fromResponse, this.#fromServer];
    if (!response || !listed) return response ?? listed;
    const isNewer = response.atMs > nowMs - SERVER_DELAY_MS || nowMs - listed.atMs > MAX_SERVER_AGE_MS;
    return isNewer ? response : listed;
  }
}

/** Returns a load with another number of calls of this client. Added calls wait if others wait, or if the limit is reached. */
function replaceOwnCalls(load: ReplicaLoad, before: number, after: number): ReplicaLoad {
  const { running, waiting, limit } = load;
  if (before === after && before <= running + waiting) return load;
  const calls = Math.max(0, running + waiting - before) + after;
  const slots = waiting > 0 ? running : (limit ?? Number.POSITIVE_INFINITY);
  return { running: Math.min(calls, slots), waiting: Math.max(0, calls - slots), limit };
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
