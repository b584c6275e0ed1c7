import { afterEach, describe, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { InferenceClient } from '../../src/client/client.js';
import type { DiscoveryKind } from '../../src/client/client-options.js';
import { asReplicaId } from '../../src/core/ids.js';
import type { Protocol } from '../../src/core/protocol.js';
import { EMPTY_SELECTOR } from '../../src/core/selector.js';
import { parseSelector } from '../../src/core/selector-parser.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { createApiClient, toServer } from '../support/api-client.js';
import { startTestApiServer } from '../support/api-server.js';
import { type ListedRow, startIgnoringServer } from '../support/ignoring-server.js';
import { query, replica, withEndpoint } from '../support/replicas.js';
import { createSeededRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const row = (
  replica_id: string,
  endpoint: string,
  type = 'chat',
): ListedRow & { capabilities: { type: string }[] } => ({
  replica_id,
  endpoint,
  capabilities: [{ type }],
});

type Rows = readonly ReturnType<typeof row>[];

/** Starts a server of each kind with these replicas: ours, one that can be watched but ignores headers, and one like the Python server. */
const SERVERS: Readonly<Record<string, (rows: Rows) => Promise<string>>> = {
  async 'this server'(rows) {
    const server = await startTestApiServer();
    cleanups.push(() => server.close());
    for (const { replica_id: id, endpoint, capabilities } of rows) {
      const one = new SerializedReplica(withEndpoint(replica(id, ...capabilities), endpoint));
      await server.registry.register(one, { host: 'h' }, () => {});
    }
    return server.url;
  },
  async 'a server that sends all replicas to a watch'(rows) {
    const puts = rows.map((one) => `event: put\ndata: ${JSON.stringify({ ...one, state: 'ready' })}\n\n`);
    const events = `event: snapshot\ndata: {"warming":false}\n\n${puts.join('')}event: synced\ndata: {}\n\n`;
    const { url, close } = await startIgnoringServer(rows, events);
    cleanups.push(close);
    return url;
  },
  async 'a server that can not be watched'(rows) {
    const { url, close } = await startIgnoringServer(rows);
    cleanups.push(close);
    return url;
  },
};

const KINDS = Object.keys(SERVERS);
const start = (kind: string, rows: Rows): Promise<string> => (SERVERS[kind] as (rows: Rows) => Promise<string>)(rows);

describe.each(KINDS)('a route request with a protocol, at %s', (kind) => {
  const ROWS = [row('h1', 'http://h1/v1'), row('g1', 'g1:1'), row('h2', 'https://h2'), row('h3', 'http://h3', 'embed')];

  async function route(url: string, type: string, protocol: Protocol, where = '', excluded: readonly string[] = []) {
    const api = createApiClient([url]);
    cleanups.push(() => api.close());
    const selector = parseSelector(where, 'where');
    const selection = { selector, preference: EMPTY_SELECTOR, protocol, random: createSeededRandom(1) };
    const ids = new Set<unknown>();
    for (let n = 0; n < 30; n++) {
      const result = await api.route(query({ type }), excluded.map(asReplicaId), { selection });
      ids.add(result.kind === 'found' ? result.route.replicaId : (result.otherProtocol ?? 'none'));
    }
    return [...ids].sort();
  }

  it('finds the replicas that have it', async () => {
    const url = await start(kind, ROWS);
    expect(await route(url, 'chat', 'grpc')).toEqual(['g1']);
    expect(await route(url, 'chat', 'grpc', 'type')).toEqual(['g1']);
    expect(await route(url, 'chat', 'grpc', '', ['g1'])).toEqual(['g1']);
    expect(await route(url, 'chat', 'http', 'type', ['h1'])).toEqual(['h2']);
  });

  it('reports which protocol the other matches have', async () => {
    const url = await start(kind, [row('h1', 'http://h1/v1')]);
    expect(await route(url, 'chat', 'grpc')).toEqual(['http']);
    expect(await route(url, 'chat', 'grpc', 'type')).toEqual(['http']);
    expect(await route(url, 'chat', 'grpc', 'model')).toEqual(['none']);
  });
});

describe('a request with a protocol', () => {
  it('sends it, and to a server that ignores it, asks for the list', async () => {
    const { url, requests, close } = await startIgnoringServer([row('h1', 'http://h1/v1')], '');
    cleanups.push(close);
    const api = createApiClient([url]);
    cleanups.push(() => api.close());
    const selection = { selector: EMPTY_SELECTOR, preference: EMPTY_SELECTOR, protocol: 'grpc', random } as const;
    await api.route(query({ type: 'chat' }), [], { selection });
    const [explanation] = await api.explanations.explain([query({ type: 'chat' })], { protocol: 'grpc' });
    expect(explanation).toMatchObject({ candidates: { count: 0 }, otherProtocol: { protocol: 'http', count: 1 } });
    const watch = api.watch(toServer(url), query(), { protocol: 'http' }).connect(AbortSignal.timeout(5000));
    const ended = watch.next().catch(() => {});
    await until('the watch has arrived', () => requests.some((request) => request.startsWith('/watch')));
    close();
    await ended;
    expect(requests.filter((request) => !/^\/re/.test(request))).toEqual([
      '/route grpc',
      '/explain grpc',
      '/watch http',
    ]);
  });

  it('is explained from the list of a server whose explanation is not about the protocol', async () => {
    const tally = { count: 1, replicas: [{ replica_id: 'h1', state: 'ready' }] };
    const explanation = { message: '', details: [], replicas: 1, examined: 1, candidates: tally, others: tally };
    const { url, close } = await startIgnoringServer([row('h1', 'http://h1/v1')], undefined, explanation);
    cleanups.push(close);
    const api = createApiClient([url]);
    cleanups.push(() => api.close());
    const explain = (protocol?: Protocol) => api.explanations.explain([query({ type: 'chat' })], { protocol });
    expect(await explain('grpc')).toMatchObject([{ candidates: { count: 0 }, otherProtocol: { protocol: 'http' } }]);
    expect(await explain()).toMatchObject([{ candidates: { count: 1 }, otherProtocol: undefined }]);
    const selector = parseSelector('ctx>1', 'where');
    expect(await api.explanations.explain([query({ type: 'chat' })], { selector })).toMatchObject([
      { candidates: { count: 0 }, selectorMiss: { id: 'h1', term: 'ctx>1' } },
    ]);
  });
});

describe('a route request without a protocol', () => {
  it('is answered with a gRPC replica from the list of a server that ignores selectors', async () => {
    const rows = [row('h1', 'http://h1/v1'), row('g1', 'g1:1'), row('h2', 'https://h2')];
    const api = createApiClient([await start('a server that can not be watched', rows)]);
    cleanups.push(() => api.close());
    const selection = { selector: parseSelector('type', 'where'), preference: EMPTY_SELECTOR, random };
    for (let n = 0; n < 10; n++) {
      expect(await api.route(query(), [], { selection })).toMatchObject({ route: { replicaId: 'g1' } });
    }
  });
});

describe.each(KINDS.slice(0, 2))('a watch with a protocol, at %s', (kind) => {
  it('has the replicas with that protocol', async () => {
    const url = await start(kind, [row('g1', 'g1:1'), row('h1', 'http://h1/v1'), row('g2', 'g2:1')]);
    const api = createApiClient([url]);
    cleanups.push(() => api.close());
    const events: string[] = [];
    for await (const event of api
      .watch(toServer(url), query(), { protocol: 'grpc' })
      .connect(new AbortController().signal)) {
      events.push(event.kind === 'put' ? `put ${event.replica.replica.id}` : event.kind);
      if (event.kind === 'synced') break;
    }
    expect(events).toEqual(['snapshot', 'put g1', 'put g2', 'synced']);
  });
});

describe.each(KINDS)('a client, at %s', (kind) => {
  function createClient(server: string, discoveryKind: DiscoveryKind): InferenceClient {
    const capability = { type: 'chat' };
    const options = { server, capability, pick: 'random', waitWhileWarming: false } as const;
    const client = new InferenceClient(options, { clock, random }, discoveryKind);
    cleanups.push(() => client.close());
    return client;
  }

  async function startWorker(): Promise<string> {
    const worker = await startTestWorker(new App().capability({ type: 'chat' }, () => ({ text: ['hi'] })));
    cleanups.push(() => worker.stop());
    return worker.replica.endpoint;
  }

  it.each<DiscoveryKind>(['table', 'route'])('calls only gRPC replicas, with a %s', async (discoveryKind) => {
    const rows = [row('h1', 'http://127.0.0.1:1/v1'), row('g1', await startWorker()), row('h2', 'http://127.0.0.1:1')];
    const client = createClient(await start(kind, rows), discoveryKind);
    for (let n = 0; n < 10; n++) {
      await client.infer('chat', { prompt: ['a'] });
      expect(client.replicaId).toBe('g1');
    }
    if (discoveryKind === 'table') expect((await client.replicas()).map(({ id }) => id)).toEqual(['g1']);
  });

  it.each<DiscoveryKind>(['table', 'route'])('says that only URLs match, with a %s', async (discoveryKind) => {
    const client = createClient(await start(kind, [row('h1', 'http://127.0.0.1:1/v1')]), discoveryKind);
    const failure = {
      code: 'no_match',
      message: 'no gRPC replica offers {"type":"chat"}; one does over HTTP: find a URL with "anyserve route --url"',
    };
    // The first call finds no table yet.
    for (let n = 0; n < 2; n++) await expect(client.infer('chat', { prompt: ['a'] })).rejects.toMatchObject(failure);
  });
});
