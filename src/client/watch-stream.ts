import { formatProtocolHeader } from '../api/protocol-header.js';
import { serializeQuery } from '../api/query.js';
import { formatSelectorHeader, SELECTOR_HEADER } from '../api/selector-header.js';
import {
  type DroppedEvent,
  MAX_WATCH_EVENT_BYTES,
  parseWatchEvent,
  WATCH_PATH,
  type WatchEvent,
} from '../api/watch-events.js';
import { NO_LONGER_MATCHES } from '../core/registry-changes.js';
import { isWatched, type ReplicaFilter } from '../core/replica-filter.js';
import { ResumableStream, type ResumableStreamOptions } from './resumable-stream.js';

/** A watch of the replicas of one API server. A connection after a lost one can begin with a new snapshot. */
export type WatchStream = ResumableStream<WatchEvent>;

/** Creates a watch of the replicas that match the filter. The empty filter matches every replica. */
export function createWatchStream(
  filter: ReplicaFilter,
  connection: Pick<ResumableStreamOptions<WatchEvent>, 'servers' | 'server' | 'clock' | 'isBackground'>,
): WatchStream {
  const search = serializeQuery(filter.query);
  const hasSelector = filter.selector.terms.length > 0;
  return new ResumableStream({
    ...connection,
    path: `${WATCH_PATH}${search && `?${search}`}`,
    headers: {
      ...formatProtocolHeader(filter.protocol),
      ...(hasSelector && { [SELECTOR_HEADER]: formatSelectorHeader(filter.selector) }),
    },
    name: 'watch',
    whenMissing: `cannot be watched: it has no ${WATCH_PATH}`,
    maxEventBytes: MAX_WATCH_EVENT_BYTES,
    parse: hasSelector || filter.protocol ? createFilteringParser(filter) : parseWatchEvent,
  });
}

/**
 * Creates a parser for the events of a server that can ignore selectors and protocols, as those of earlier versions do. Outside of a
 * snapshot, a replica that doesn't match is reported as removed.
 */
function createFilteringParser(filter: ReplicaFilter): typeof parseWatchEvent {
  let isInSnapshot = false;
  return (name, data) => {
    const event: WatchEvent | DroppedEvent | 'unknown' | undefined = parseWatchEvent(name, data);
    if (event === undefined || event === 'unknown') return event;
    if (event.kind === 'snapshot') isInSnapshot = true;
    if (event.kind === 'synced') isInSnapshot = false;
    if (event.kind !== 'put' || isWatched(filter, event.replica.replica)) return event;
    const { id: replicaId } = event.replica.replica;
    return isInSnapshot ? 'unknown' : { kind: 'removed', replicaId, reason: NO_LONGER_MATCHES };
  };
}
