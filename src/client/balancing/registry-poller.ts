import type { ListedReplica } from '../../api/replica-list-json.js';
import type { WatchEvent } from '../../api/watch-events.js';
import type { ReplicaId } from '../../core/ids.js';
import type { Clock } from '../../core/ports.js';
import { matchesFilter, type ReplicaFilter } from '../../core/replica-filter.js';
import { sleep } from '../async-waits.js';

/** Interval of the requests to a server without `GET /watch`, in ms. */
const POLL_INTERVAL_MS = 1000;

/** Interval while the list is large, in ms, and the size from which a list is large, in bytes. */
const LARGE_LIST_INTERVAL_MS = 5000;
const LARGE_LIST_BYTES = 1024 * 1024;

/** Options of {@link pollRegistry}. */
export interface RegistryPollerOptions {
  /** Requests the list of the server. `bytes` is the size of the response. Rejects if the server doesn't respond. */
  readonly fetchList: () => Promise<{ readonly replicas: readonly ListedReplica[]; readonly bytes: number }>;
  readonly filter: ReplicaFilter;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/**
 * Yields the events that `GET /watch` of the server would send, from requests for its whole list, for a server without that
 * path, such as the Python server. The same rules of matching apply. A replica that is in one list and not in the next has
 * been removed. Throws when a request fails.
 */
export async function* pollRegistry(options: RegistryPollerOptions): AsyncGenerator<WatchEvent> {
  const { fetchList, filter, clock, signal } = options;
  let present: ReadonlySet<ReplicaId> | undefined;
  while (!signal.aborted) {
    const { replicas, bytes } = await fetchList();
    const matching = replicas.filter(({ replica }) => matchesFilter(filter, replica));
    const ids = new Set(matching.map(({ replica }) => replica.id));
    for (const replicaId of present ?? []) {
      if (!ids.has(replicaId)) yield { kind: 'removed', replicaId, reason: 'no-longer-listed' };
    }
    if (!present) yield { kind: 'snapshot', isWarming: false };
    for (const listed of matching) yield { kind: 'put', replica: listed };
    if (!present) yield { kind: 'synced' };
    present = ids;
    const intervalMs = bytes > LARGE_LIST_BYTES ? LARGE_LIST_INTERVAL_MS : POLL_INTERVAL_MS;
    await sleep(clock, intervalMs, signal, { background: true });
  }
}
