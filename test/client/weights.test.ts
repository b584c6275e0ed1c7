import { afterEach, expect, it } from 'vitest';
import { parseReplicaList } from '../../src/api/replica-list-json.js';
import { App, Client, keepRegistered, startWorker } from '../../src/index.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { until } from '../support/until.js';
import { openWatch } from '../support/watch-client.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startServer(): Promise<TestApiServer> {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  return server;
}

/** Keeps an endpoint registered, as a program does for a model server that is not a worker. */
async function keep(server: TestApiServer, id: string, weight?: number): Promise<void> {
  const replica = { id, endpoint: `${id}.test:1`, capabilities: [{ type: 'x' }], weight };
  const kept = await keepRegistered({ server: server.url, ...replica });
  cleanups.push(() => kept.stop());
  await until(`${id} is registered`, () => server.registry.replicas().some((one) => one.id === id));
}

const fetchText = async (url: string): Promise<string> => (await fetch(url)).text();

it('is shown by /replicas and /watch unless it is 1, and not by /registry and /route', async () => {
  const server = await startServer();
  await keep(server, 'light');
  await keep(server, 'heavy', 7);
  const listed = parseReplicaList(await fetchText(`${server.url}/replicas`)) ?? [];
  expect(listed.map(({ replica, weight, toText }) => [replica.id, weight, /"weight":\d+/.exec(toText())?.[0]])).toEqual(
    [
      ['light', 1, undefined],
      ['heavy', 7, '"weight":7'],
    ],
  );
  const watch = openWatch(server.port);
  cleanups.push(() => watch.socket.destroy());
  await until('the snapshot is complete', () => watch.summarize().includes('synced'));
  const rows = watch.events().flatMap(({ event, data }) => (event === 'put' ? [data] : []));
  expect(rows.map((row) => row['weight'])).toEqual([undefined, 7]);
  for (const path of ['/registry', '/route?type=x']) {
    expect(await fetchText(`${server.url}${path}`)).not.toContain('weight');
  }
});

it('stays when the replica changes its state and its capabilities', async () => {
  const server = await startServer();
  const kept = await keepRegistered({
    server: server.url,
    id: 'r1',
    endpoint: 'r1.test:1',
    capabilities: [{ type: 'x' }],
    weight: 3,
  });
  cleanups.push(() => kept.stop());
  await until('it is registered', () => server.registry.replicas().length === 1);
  await kept.update({ capabilities: [{ type: 'y' }] });
  const [listed] = parseReplicaList(await fetchText(`${server.url}/replicas`)) ?? [];
  expect([listed?.weight, listed?.replica.capabilities[0]?.source]).toEqual([3, '{"type":"y"}']);
});

it('gives a worker with twice the weight twice the calls of a client', async () => {
  const server = await startServer();
  const counts = { light: 0, heavy: 0 };
  for (const [id, weight] of [
    ['light', 1],
    ['heavy', 2],
  ] as const) {
    const app = new App().capability({ type: 'x' }, async () => {
      counts[id]++;
      await new Promise((resolve) => setTimeout(resolve, 20));
      return { ok: [true] };
    });
    const worker = await startWorker({ backends: [app], id, weight, port: 0, servers: [server.url] });
    cleanups.push(() => worker.stop());
  }
  await until('both are registered', () => server.registry.replicas().length === 2);
  const client = new Client({ server: server.url, capability: { type: 'x' } });
  cleanups.push(() => client.close());
  const replicas = await client.replicas();
  expect(Object.fromEntries(replicas.map(({ id, weight }) => [id, weight]))).toEqual({ light: 1, heavy: 2 });
  const callOneAfterTheOther = async (): Promise<void> => {
    for (let n = 0; n < 50; n++) await client.infer('x', {});
  };
  await Promise.all(Array.from({ length: 12 }, callOneAfterTheOther));
  expect(counts.light + counts.heavy).toBe(600);
  expect(counts.heavy / counts.light).toBeGreaterThan(1.5);
  expect(counts.heavy / counts.light).toBeLessThan(2.8);
});
