import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';
import type { ServerAddress } from './server-list.js';

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
 * Waits, at most 2 s, until a server without lease ids has removed the registration of a closed connection. Such a server
 * removes by replica id, so a late removal would hit the next registration.
 */
export async function waitUntilUnlisted(listed: ListedId): Promise<void> {
  const { clock, signal } = listed;
  const deadlineAtMs = clock.nowMs() + UNLISTED_TIMEOUT_MS;
  while (!signal.aborted && clock.nowMs() < deadlineAtMs && (await isIdListed(listed)) !== false) {
    await sleep(clock, UNLISTED_POLL_MS, signal);
  }
}

/** Returns whether a server lists the id; undefined if no server responds. */
export async function isIdListed({ api, server, id, signal }: Omit<ListedId, 'clock'>): Promise<boolean | undefined> {
  try {
    return (await api.findReplica(id, { signal, server })) !== undefined;
  } catch {
    return undefined;
  }
}
