import type { WatchEvent } from '../../api/watch-events.js';
import type { CapabilityQuery } from '../../core/capability.js';
import { AnyserveError } from '../../core/errors.js';
import type { Clock, Random } from '../../core/ports.js';
import type { ApiClient } from '../api-client.js';
import { sleep } from '../async-waits.js';
import { createBackoff, STABLE_AFTER_MS } from '../backoff.js';
import type { RegistryClaims } from '../registry-claims.js';
import type { ServerAddress } from '../server-list.js';
import type { WatchStream } from '../watch-stream.js';
import { pollRegistry } from './registry-poller.js';
import type { ReplicaTable } from './replica-table.js';

/** Options of a {@link ServerFeed}. */
export interface ServerFeedOptions {
  readonly table: ReplicaTable;
  /** Registries that are watched, each through one server. */
  readonly claims: RegistryClaims<ServerFeed>;
  readonly clock: Clock;
  readonly random: Random;
}

/** Keeps a table up to date with the events of one API server, and connects again whenever the connection is lost. */
export class ServerFeed {
  readonly #server: ServerAddress;
  readonly #api: ApiClient;
  readonly #query: CapabilityQuery;
  readonly #options: ServerFeedOptions;
  readonly #watch: WatchStream;
  readonly #stop = new AbortController();

  constructor(server: ServerAddress, api: ApiClient, query: CapabilityQuery, options: ServerFeedOptions) {
    this.#server = server;
    this.#api = api;
    this.#query = query;
    this.#options = options;
    this.#watch = api.watch(server, query, { isBackground: true });
  }

  /** Follows the server until {@link stop}. */
  async run(): Promise<void> {
    const { clock, random, table, claims } = this.#options;
    const { signal } = this.#stop;
    const backoff = createBackoff(random);
    while (!signal.aborted) {
      const startedAtMs = clock.nowMs();
      try {
        await this.#follow(signal);
      } catch (error) {
        // A server that can't be reached, or that refuses the token, is tried again and again: the table has the others.
        if (!(error instanceof AnyserveError) && !signal.aborted) throw error;
      } finally {
        table.disconnect(this.#server);
        claims.release(this);
      }
      if (clock.nowMs() - startedAtMs >= STABLE_AFTER_MS) backoff.reset();
      await sleep(clock, backoff.computeNextDelayMs(), signal, { background: true });
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Applies the server's events until the connection ends. Requests its list again and again if it can't be watched. */
  async #follow(signal: AbortSignal): Promise<void> {
    try {
      await this.#followWatch(signal);
    } catch (error) {
      if (!(error instanceof AnyserveError) || error.code !== 'unimplemented') throw error;
      const fetchList = () => this.#api.fetchList(this.#server, signal);
      const polled = pollRegistry({ fetchList, query: this.#query, clock: this.#options.clock, signal });
      for await (const event of polled) this.#apply(event, undefined);
    }
  }

  async #followWatch(signal: AbortSignal): Promise<void> {
    const connection = new AbortController();
    const end = (): void => connection.abort(signal.reason);
    signal.addEventListener('abort', end, { once: true });
    try {
      for await (const event of this.#watch.connect(connection.signal)) {
        if (!this.#apply(event, this.#watch.registryId)) break;
      }
    } finally {
      signal.removeEventListener('abort', end);
      end();
    }
    // Another server of the same registry is watched. This one takes its place when it fails.
    await this.#options.claims.waitForRelease(signal);
  }

  /** Applies an event. Returns false if another server with the same registry is watched already. */
  #apply(event: WatchEvent, registryId: string | undefined): boolean {
    const { claims, table } = this.#options;
    if (!claims.take(registryId ?? this.#server.name, this)) return false;
    table.connect(this.#server);
    table.apply(this.#server, event);
    return true;
  }
}
