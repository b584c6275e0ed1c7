import type { WatchEvent } from '../../api/watch-events.js';
import { AnyserveError } from '../../core/errors.js';
import type { Clock } from '../../core/ports.js';
import type { ReplicaFilter } from '../../core/replica-filter.js';
import type { ApiClient } from '../api-client.js';
import type { FollowedStream } from '../followed-stream.js';
import type { ServerAddress } from '../server-list.js';
import { pollRegistry } from './registry-poller.js';

/** Creates a watch of the matching replicas of one API server. Polls a server that can't be watched, such as the Python server. */
export function createServerFeed(
  server: ServerAddress,
  { api, filter, clock }: { readonly api: ApiClient; readonly filter: ReplicaFilter; readonly clock: Clock },
): FollowedStream<WatchEvent> {
  const { query, selector, protocol } = filter;
  const watch = api.watch(server, query, { isBackground: true, selector, protocol });
  return {
    server,
    get registryId() {
      return watch.registryId;
    },
    async *connect(signal) {
      try {
        yield* watch.connect(signal);
      } catch (error) {
        if (!(error instanceof AnyserveError) || error.code !== 'unimplemented') throw error;
      }
      const fetchList = () => api.fetchList(server, signal);
      yield* pollRegistry({ fetchList, filter, clock, signal });
      throw signal.reason;
    },
  };
}
