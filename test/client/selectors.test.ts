import { afterEach, describe, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions } from '../../src/client/client-options.js';
import type { RouteSelection } from '../../src/client/route-selection.js';
import { asEndpoint, asReplicaId } from '../../src/core/ids.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { createApiClient, toServer } from '../support/api-client.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { type ListedRow, startIgnoringServer } from '../support/ignoring-server.js';
import { query, replica, serializedReplica } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const select = (where: string, prefer = ''): RouteSelection => ({
  selector: parseSelector(where, 'where'),
  preference: parseSelector(prefer, 'prefer'),
  random: createSeededRandom(1),
});

async function startServer(): Promise<TestApiServer> {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  return server;
}

const REPLICAS = [
  { replica_id: 'r1', endpoint: 'a:1', capabilities: [{ type: 'chat', ctx: 4096, zone: 'a' }] },
  { replica_id: 'r2', endpoint: 'b:1', capabilities: [{ type: 'chat', ctx: 32768, zone: 'b' }] },
  { replica_id: 'r3', endpoint: 'c:1', capabilities: [{ type: 'chat', ctx: 65536, zone: 'c' }] },
  { replica_id: 'r4', endpoint: 'd:1', capabilities: [{ type: 'embed', ctx: 65536, zone: 'a' }] },
];

/** Starts a server that ignores selectors. Returns its URL. */
async function startUnaware(replicas: readonly ListedRow[] = REPLICAS, watchEvents?: string): Promise<string> {
  const { url, close } = await startIgnoringServer(replicas, watchEvents);
  cleanups.push(close);
  return url;
}

/** Returns the ids that many requests for a route of type=chat are answered with. */
async function routeOften(url: string, selection: RouteSelection, excluded: readonly string[] = []): Promise<string[]> {
  const api = createApiClient([url]);
  cleanups.push(() => api.close());
  const ids = new Set<string>();
  for (let n = 0; n < 30; n++) {
    const result = await api.route(query({ type: 'chat' }), excluded.map(asReplicaId), { selection });
    ids.add(result.kind === 'found' ? result.route.replicaId : 'none');
  }
  return [...ids].sort();
}

/** The ids that a server of the replicas above must be asked for. */
const EXPECTED: readonly [RouteSelection, readonly string[], readonly string[]][] = [
  [select('ctx>=8192'), [], ['r2', 'r3']],
  [select('zone="a"'), [], ['r1']],
  [select('zone=ä'), [], ['none']],
  [select('', 'zone=b'), [], ['r2']],
  [select('ctx>=8192', 'zone=b'), ['r2'], ['r3']],
  [select('ctx>=8192', 'zone=a'), [], ['r2', 'r3']],
  [select('zone!=c', 'zone=c'), [], ['r1', 'r2']],
  [select('ctx<8192'), ['r1'], ['r1']],
];

describe('a route request with a selection', () => {
  it('is answered by the server', async () => {
    const server = await startServer();
    for (const { replica_id: id, capabilities } of REPLICAS) {
      await server.registry.register(serializedReplica(id, ...capabilities), { host: 'h' }, () => {});
    }
    for (const [selection, excluded, ids] of EXPECTED) {
      expect(await routeOften(server.url, selection, excluded), selection.selector.text).toEqual(ids);
    }
  });

  it('is answered from the list of a server that ignores selectors', async () => {
    const url = await startUnaware();
    for (const [selection, excluded, ids] of EXPECTED) {
      expect(await routeOften(url, selection, excluded), selection.selector.text).toEqual(ids);
    }
    expect(await routeOften(url, select(''))).toEqual(['r1']);
  });
});

describe('a watch with a selector', () => {
  it('leaves out what a server that ignores the selector sends', async () => {
    const row = (id: string, ctx: number): string =>
      `event: put\ndata: {"replica_id":"${id}","endpoint":"a:1","capabilities":[{"ctx":${ctx}}],"state":"ready"}\n\n`;
    const snapshot = `event: snapshot\ndata: {"warming":false}\n\n${row('r1', 1)}${row('r2', 2)}event: synced\ndata: {}\n\n`;
    const url = await startUnaware(REPLICAS, `${snapshot}${row('r2', 1)}${row('r1', 2)}`);
    const api = createApiClient([url]);
    cleanups.push(() => api.close());
    const { selector } = select('ctx>1');
    const events: string[] = [];
    const stop = new AbortController();
    for await (const event of api.watch(toServer(url), query(), { selector }).connect(stop.signal)) {
      events.push(event.kind === 'put' ? `put ${event.replica.replica.id}` : event.kind);
      if (events.length === 5) break;
    }
    expect(events).toEqual(['snapshot', 'put r2', 'synced', 'removed', 'put r1']);
  });
});

describe('a client with a selector', () => {
  function createClient(options: ClientOptions): InferenceClient {
    const client = new InferenceClient(options, { clock, random });
    cleanups.push(() => client.close());
    return client;
  }

  /** Starts a worker that responds with its name. */
  async function startWorker(name: string): Promise<{ readonly endpoint: string; readonly stop: () => unknown }> {
    const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ who: [name] })));
    cleanups.push(() => worker.stop());
    return { endpoint: worker.replica.endpoint, stop: () => worker.stop() };
  }

  async function callOften(client: InferenceClient): Promise<string[]> {
    const ids = new Set<string>();
    for (let n = 0; n < 20; n++) {
      await client.infer('x', { prompt: ['a'] });
      ids.add(String(client.replicaId));
    }
    return [...ids].sort();
  }

  it.each(['with a table', 'by polling a server that ignores selectors'])(
    'calls only replicas that match, and preferred ones first, %s',
    async (how) => {
      const workers = await Promise.all(['r1', 'r2', 'r3'].map(startWorker));
      const list = workers.map(({ endpoint }, n) => ({
        replica_id: `r${n + 1}`,
        endpoint,
        capabilities: [{ type: 'x', ctx: n + 1, zone: 'abc'.charAt(n) }],
      }));
      let url: string;
      let expireFirst = (): unknown => undefined;
      if (how === 'with a table') {
        const server = await startServer();
        url = server.url;
        for (const { replica_id: id, endpoint, capabilities } of list) {
          const one = new SerializedReplica({ ...replica(id, ...capabilities), endpoint: asEndpoint(endpoint) });
          const lease = await server.registry.register(one, { host: 'h' }, () => {});
          if (id === 'r3') expireFirst = () => server.registry.release(lease, 'released');
        }
      } else url = await startUnaware(list);
      const options = { server: url, capability: { type: 'x' }, pick: 'random' } as const;
      const limited = createClient({ ...options, where: 'ctx>=2' });
      expect(await callOften(limited)).toEqual(['r2', 'r3']);
      const preferring = createClient({ ...options, where: 'ctx>=2', prefer: 'zone in (a,c)' });
      expect(await callOften(preferring)).toEqual(['r3']);
      await workers[2]?.stop();
      await expireFirst();
      await until('another one is called', async () => (await callOften(preferring)).includes('r2'));
      const nothing = createClient({ ...options, where: 'ctx>3', waitWhileWarming: false });
      await expect(nothing.infer('x', { prompt: ['a'] })).rejects.toMatchObject({
        code: 'no_match',
        message: 'no replica offers {"type":"x"} where "ctx>3"',
      });
    },
  );

  it('refuses a selector that can not be parsed, and one without an API server', () => {
    const options = { server: 'http://localhost:1', capability: { type: 'x' } };
    expect(() => createClient({ ...options, where: 'a=' })).toThrow(
      'where: expected a value ("" is the empty one) at character 3, but the selector ends there',
    );
    expect(() => createClient({ ...options, prefer: 'a b' })).toThrow('prefer: expected an operator');
    expect(() => createClient({ endpoint: 'localhost:1', prefer: 'a' })).toThrow('give a server');
  });
});
