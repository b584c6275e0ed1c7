import type { CapabilityQuery } from '../../core/capability.js';
import type { ApiClient } from '../api-client.js';
import type { ServerAddress } from '../server-list.js';
import { ServerFeed, type ServerFeedOptions } from './server-feed.js';

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

  /** Watches every server of the list until {@link stop}. Resolves at once if the list can't change. */
  async run(): Promise<void> {
    await this.#api.servers.follow((servers) => this.#sync(servers), this.#stop.signal, { background: true });
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
