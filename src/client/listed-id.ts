import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import type { ServerAddress } from './server-list.js';

/** Interval at which a superseded replica looks its id up, in ms. */
export const STAND_BY_POLL_MS = 2000;

/** Time for which an id must be unlisted before a superseded replica takes it back, in ms. */
const ID_FREE_FOR_MS = 5000;

/** Interval of the lookups after a lease was closed, in ms. */
const UNLISTED_POLL_MS = 100;

/** Maximum time to wait until a server has removed an id after its lease was closed, in ms. */
const UNLISTED_TIMEOUT_MS = 2000;

/** An id to look up in the lists of API servers. */
export interface ListedId {
  readonly api: ApiClient;
  readonly clock: Clock;
  /** The only server to ask. Default: all servers. */
  readonly server?: ServerAddress;
  readonly id: ReplicaId;
  readonly signal: AbortSignal;
}

/**
 * Waits until no server that responds has listed an id for 5 s. Resolves with false if the signal is aborted first. Without
 * the wait, two processes with the same id would take it from each other forever. If no server responds, the id counts as
 * listed.
 */
export async function waitUntilFree(listed: ListedId): Promise<boolean> {
  const { clock, signal } = listed;
  let freeSinceMs: number | undefined;
  for (;;) {
    const remainingMs = freeSinceMs === undefined ? STAND_BY_POLL_MS : freeSinceMs + ID_FREE_FOR_MS - clock.nowMs();
    if (remainingMs <= 0) return true;
    await sleep(clock, Math.min(STAND_BY_POLL_MS, remainingMs), signal);
    const isInList = await isListed(listed);
    if (signal.aborted) return false;
    freeSinceMs = isInList === false ? (freeSinceMs ?? clock.nowMs()) : undefined;
  }
}

/**
 * Waits, at most 2 s, until a server without lease ids has removed the registration of a closed connection. Such a server
 * removes by replica id, so a late removal would hit the next registration.
 */
export async function waitUntilUnlisted(listed: ListedId): Promise<void> {
  const { clock, signal } = listed;
  const deadlineAtMs = clock.nowMs() + UNLISTED_TIMEOUT_MS;
  while (!signal.aborted && clock.nowMs() < deadlineAtMs && (await isListed(listed)) !== false) {
    await sleep(clock, UNLISTED_POLL_MS, signal);
  }
}

/** Returns whether a server lists the id; undefined if no server responds. */
async function isListed({ api, server, id, signal }: ListedId): Promise<boolean | undefined> {
  try {
    return (await api.findReplica(id, { signal, server })) !== undefined;
  } catch {
    return undefined;
  }
}
