import type { Clock, Random } from '../../core/ports.js';
import type { ReplicaFilter } from '../../core/replica-filter.js';
import type { ApiClient } from '../api-client.js';
import { followStream } from '../followed-stream.js';
import { runForEachServer } from '../per-server.js';
import { RegistryClaims } from '../registry-claims.js';
import type { ServerAddress } from '../server-list.js';
import type { ReplicaTable } from './replica-table.js';
import { createServerFeed } from './server-feed.js';

/** Options of {@link TableFeeds}. */
export interface TableFeedsOptions {
  readonly api: ApiClient;
  readonly filter: ReplicaFilter;
  readonly table: ReplicaTable;
  readonly clock: Clock;
  readonly random: Random;
}

/** Keeps a table up to date with the events of all API servers, one server of each registry. */
export class TableFeeds {
  readonly #options: TableFeedsOptions;
  readonly #claims = new RegistryClaims<object>();
  readonly #stop = new AbortController();

  constructor(options: TableFeedsOptions) {
    this.#options = options;
  }

  /** Follows the servers until {@link stop}. */
  run(): Promise<void> {
    const { signal } = this.#stop;
    return runForEachServer(this.#options.api.servers, (...task) => this.#feed(...task), { signal, background: true });
  }

  stop(): void {
    this.#stop.abort();
    this.#options.table.close();
  }

  /** Applies the events of one server until it leaves the list of servers. */
  async #feed(server: ServerAddress, signal: AbortSignal): Promise<void> {
    const { table, clock, random } = this.#options;
    await followStream(createServerFeed(server, this.#options), {
      clock,
      random,
      signal,
      claims: this.#claims,
      // The table has the replicas of the other servers meanwhile.
      retriesRefusals: true,
      background: true,
      onEvent(event) {
        table.connect(server);
        table.apply(server, event);
      },
      onLost: () => table.disconnect(server),
    });
    if (!this.#stop.signal.aborted) table.forget(server);
  }
}
