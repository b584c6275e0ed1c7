import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { WatchEvent } from '../../src/api/watch-events.js';
import type { ApiClient } from '../../src/client/api-client.js';
import type { WatchStream } from '../../src/client/watch-stream.js';
import type { LeaseId } from '../../src/core/ids.js';
import type { DeclaredState } from '../../src/core/replica.js';
import { createApiClient, toServer } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { serializedReplica } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { applyWatchEvent } from '../support/watch-client.js';

const STEPS = 400;
const IDS = 12;
const STATES: readonly DeclaredState[] = ['ready', 'unready', 'draining'];

let server: TestApiServer;
let api: ApiClient;

beforeEach(async () => {
  server = await startTestApiServer();
  api = createApiClient(server.url);
});

afterEach(async () => {
  api.close();
  await server.close();
});

/** A client that keeps a table of rows over several connections of one watch. */
class TableClient {
  readonly table = new Map<string, string>();
  readonly kinds: WatchEvent['kind'][] = [];
  connections = 0;
  readonly #watch: WatchStream;
  #stop = new AbortController();
  #ended = Promise.resolve();

  constructor(query: readonly string[]) {
    this.#watch = api.watch(toServer(server.url), query);
    this.#connect();
  }

  /** Loses the connection, and opens the next one. */
  async reconnect(): Promise<void> {
    await this.close();
    this.#connect();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#ended;
  }

  #connect(): void {
    this.#stop = new AbortController();
    this.connections++;
    this.#ended = this.#read(this.#stop.signal);
  }

  async #read(signal: AbortSignal): Promise<void> {
    try {
      for await (const event of this.#watch.connect(signal)) {
        this.kinds.push(event.kind);
        applyWatchEvent(this.table, event);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

/** Returns rows without the time of the last sign of life, which changes without an event. */
const toComparable = (rows: Iterable<string>): string[] =>
  [...rows].map((row) => row.replace(/"last_seen":[\d.]+/, '')).sort();

async function listRows(isListed: (type: unknown) => boolean): Promise<string[]> {
  const { replicas } = await api.listReplicas();
  const rows = replicas.map(({ listed }) => listed.toText());
  return toComparable(rows.filter((row) => isListed(/"type":"(\w+)"/.exec(row)?.[1])));
}

describe.each([1, 2, 3])('clients that reconnect at random, with seed %i', (seed) => {
  it('end with exactly the list of the server, mostly without a new snapshot', async () => {
    const random = createSeededRandom(seed);
    const pick = <T>(items: readonly T[]): T => items[Math.floor(random.fraction() * items.length)] as T;
    const clients = [new TableClient([]), new TableClient(['type', 'chat']), new TableClient(['type', 'chat'])];
    const leases = new Map<string, LeaseId>();
    const create = (id: string) => serializedReplica(id, { type: pick(['chat', 'embed']), n: pick(['1', '2']) });
    for (let step = 0; step < STEPS; step++) {
      const id = `r${Math.floor(random.fraction() * IDS)}`;
      const lease = leases.get(id);
      const action = random.fraction();
      if (!lease || action < 0.2) {
        leases.set(id, await server.registry.register(create(id), { host: 'h', state: pick(STATES) }, () => {}));
      } else if (action < 0.5) await server.registry.renew(lease, pick(STATES));
      else if (action < 0.6) await server.registry.renew(lease, pick(STATES), () => create(id));
      else if (action < 0.8) {
        await server.registry.release(lease, pick(['closed', 'released', 'expired']));
        leases.delete(id);
      } else if (action < 0.9) await pick(clients).reconnect();
      else await new Promise((resolve) => setTimeout(resolve, random.fraction() * 20));
    }
    const [all, ...chats] = clients as [TableClient, ...TableClient[]];
    const expectations = [
      { client: all, rows: await listRows(() => true) },
      ...chats.map((client) => ({ client, rows: listRows((type) => type === 'chat') })),
    ];
    for (const { client, rows } of expectations) {
      const expected = await rows;
      await until(
        () => `the table is ${JSON.stringify(expected)}: ${JSON.stringify(toComparable(client.table.values()))}`,
        () => JSON.stringify(toComparable(client.table.values())) === JSON.stringify(expected),
      );
      const snapshots = client.kinds.filter((kind) => kind === 'snapshot').length;
      expect(snapshots).toBeLessThanOrEqual(client.connections / 2);
      await client.close();
    }
  });
});
