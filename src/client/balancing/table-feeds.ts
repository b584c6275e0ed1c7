import type { CapabilityQuery } from '../../core/capability.js';
import type { ApiClient } from '../api-client.js';
import { sleep } from '../async-waits.js';
import type { ServerAddress } from '../server-list.js';
import { ServerFeed, type ServerFeedOptions } from './server-feed.js';

/** Interval at which the list of servers is read again, in ms: host names can get other addresses. */
const SERVER_LIST_INTERVAL_MS = 30_000;

/** Keeps a table up to date with the events of all API servers. */
export class TableFeeds {
  readonly #api: ApiClient;
  readonly #query: CapabilityQuery;
  readonly #options: ServerFeedOptions;
  readonly #stop = new AbortController();
  readonly #feeds = new Map<ServerAddress, ServerFeed>();

  constructor(api: ApiClient, query: CapabilityQuery, options: ServerFeedOptions) {
    this.#api = api;
    this.#query = query;
    this.#options = options;
  }

  /** Watches every server of the list, and reads the list again and again while it can change. */
  async run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const servers = await this.#api.servers.get();
      if (signal.aborted) return;
      this.#sync(servers);
      if (!this.#api.servers.canChange) return;
      await sleep(clock, SERVER_LIST_INTERVAL_MS, signal, { background: true });
    }
  }

  stop(): void {
    this.#stop.abort();
    for (const feed of this.#feeds.values()) feed.stop();
    this.#options.table.close();
  }

  #sync(servers: readonly ServerAddress[]): void {
    for (const server of servers) {
      if (this.#feeds.has(server)) continue;
      const feed = new ServerFeed(server, this.#api, this.#query, this.#options);
      this.#feeds.set(server, feed);
      void feed.run();
    }
    for (const [server, feed] of this.#feeds) {
      if (servers.includes(server)) continue;
      feed.stop();
      this.#feeds.delete(server);
      this.#options.table.forget(server);
    }
  }
}
