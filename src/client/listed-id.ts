import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import type { ApiClient } from './api-client.js';
import { sleep } from './async-waits.js';

/** Time between two looks of the loser of an id, and how long nobody must have listed the id before it is taken. */
export const STAND_BY_POLL_MS = 2000;
const FREE_FOR_MS = 5000;

/** Time between two looks after a lease was closed, and how long its server may go on listing the id. */
const UNLIST_LOOK_MS = 100;
const UNLIST_LIMIT_MS = 2000;

/** Where an id may be listed. */
export interface ListedId {
  readonly api: ApiClient;
  readonly clock: Clock;
  readonly server: string;
  readonly id: ReplicaId;
  readonly signal: AbortSignal;
}

/**
 * Waits until nobody has listed an id for 5 s; false: it was aborted before. Taking an id back at once would have two
 * processes take it from each other forever. A server that cannot be asked may still list it.
 */
export async function waitUntilFree(listed: ListedId): Promise<boolean> {
  const { clock, signal } = listed;
  let freeSinceMs: number | undefined;
  for (;;) {
    const leftMs = freeSinceMs === undefined ? STAND_BY_POLL_MS : freeSinceMs + FREE_FOR_MS - clock.nowMs();
    if (leftMs <= 0) return true;
    await sleep(clock, Math.min(STAND_BY_POLL_MS, leftMs), signal);
    const isThere = await isListed(listed);
    if (signal.aborted) return false;
    freeSinceMs = isThere === false ? (freeSinceMs ?? clock.nowMs()) : undefined;
  }
}

/**
 * Waits until a server without lease ids has noticed that a connection was closed, but at most 2 s: it removes by id, and
 * would otherwise remove the next registration.
 */
export async function waitUntilUnlisted(listed: ListedId): Promise<void> {
  const { clock, signal } = listed;
  const untilMs = clock.nowMs() + UNLIST_LIMIT_MS;
  while (!signal.aborted && clock.nowMs() < untilMs && (await isListed(listed)) !== false) {
    await sleep(clock, UNLIST_LOOK_MS, signal);
  }
}

/** Whether the server lists the id; undefined where it cannot be asked. */
async function isListed({ api, server, id, signal }: ListedId): Promise<boolean | undefined> {
  try {
    return (await api.find(id, { signal, server })) !== undefined;
  } catch {
    return undefined;
  }
}
