import { serializeQuery } from '../api/query.js';
import { MAX_WATCH_EVENT_BYTES, parseWatchEvent, WATCH_PATH, type WatchEvent } from '../api/watch-events.js';
import type { CapabilityQuery } from '../core/capability.js';
import { ResumableStream, type ResumableStreamOptions } from './resumable-stream.js';

/** A watch of the replicas of one API server. A connection after a lost one can begin with a new snapshot. */
export type WatchStream = ResumableStream<WatchEvent>;

/** Creates a watch of the replicas that match the query. The empty query matches every replica. */
export function createWatchStream(
  query: CapabilityQuery,
  connection: Pick<ResumableStreamOptions<WatchEvent>, 'servers' | 'server' | 'clock' | 'isBackground'>,
): WatchStream {
  const search = serializeQuery(query);
  return new ResumableStream({
    ...connection,
    path: `${WATCH_PATH}${search && `?${search}`}`,
    name: 'watch',
    whenMissing: `cannot be watched: it has no ${WATCH_PATH}`,
    maxEventBytes: MAX_WATCH_EVENT_BYTES,
    parse: parseWatchEvent,
  });
}
