import { afterEach, expect, it } from 'vitest';
import { App, Client, startWorker, type Worker } from '../../src/index.js';
import { startTestApiServer } from '../support/api-server.js';
import { until } from '../support/until.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Starts two workers, and counts the short calls of each. */
async function startTwoWorkers() {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  const counts = new Map<string, number>();
  const finish: (() => void)[] = [];
  const workers: Worker[] = [];
  for (const id of ['w1', 'w2']) {
    const app = new App()
      .capability({ type: 'short' }, async () => {
        counts.set(id, (counts.get(id) ?? 0) + 1);
        await new Promise((resolve) => setTimeout(resolve, 20));
        return { ok: [true] };
      })
      .capability({ type: 'long' }, async () => {
        await new Promise<void>((resolve) => finish.push(resolve));
        return { ok: [true] };
      });
    const worker = await startWorker({ backends: [app], id, port: 0, maxConcurrency: 8, servers: [server.url] });
    cleanups.push(() => worker.stop());
    workers.push(worker);
  }
  cleanups.push(() => {
    for (const one of finish) one();
  });
  await until('both are registered', () => server.registry.replicas().length === 2);
  return { server, workers, counts, finish };
}

it('of other clients is avoided: responses report it', async () => {
  const { server, workers, counts, finish } = await startTwoWorkers();
  const other = new Client({ endpoint: workers[0]?.replica.endpoint as string });
  cleanups.push(() => other.close());
  for (let n = 0; n < 3; n++) void other.infer('long', {}).catch(() => {});
  await until('they run', () => finish.length === 3);
  const client = new Client({ server: server.url, capability: { type: 'short' } });
  cleanups.push(() => client.close());
  // Many calls at each, because the first one includes the time to connect: then both are equally fast.
  const makeCalls = async (): Promise<void> => {
    for (let n = 0; n < 40; n++) await client.infer('short', {});
  };
  await Promise.all([makeCalls(), makeCalls()]);
  // The last response of each can have been one during another call of this client, which counts for 10 s.
  await until('the loads are those of the other client', async () => {
    await client.infer('short', {});
    const replicas = await client.replicas();
    const loads = Object.fromEntries(replicas.map(({ id, load }) => [id, load?.running]));
    return (loads['w1'] ?? 0) >= 3 && loads['w2'] === 0;
  });
  counts.clear();
  for (let n = 0; n < 20; n++) await client.infer('short', {});
  expect([counts.get('w1'), counts.get('w2')]).toEqual([undefined, 20]);
});

it('is read from every kind of response: of a call, a stream and a failure', async () => {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  const app = new App().capability({ type: 'x' }, () => ({ ok: [true] }));
  const worker = await startWorker({ backends: [app], id: 'w1', port: 0, servers: [server.url] });
  cleanups.push(() => worker.stop());
  await until('it is registered', () => server.registry.replicas().length === 1);
  const CALLS: ((client: Client) => Promise<unknown>)[] = [
    (client) => client.infer('x', {}),
    async (client) => {
      for await (const _ of client.inferStream('x', {}));
    },
    (client) => client.infer('unknown', {}, { retryOnFailure: false }).catch(() => {}),
  ];
  for (const call of CALLS) {
    const client = new Client({ server: server.url, capability: { type: 'x' } });
    const [before] = await client.replicas();
    await call(client);
    const [after] = await client.replicas();
    await client.close();
    // One from an API server is taken to be at least 5 s old.
    expect([before?.load, (before?.loadAgeMs ?? 0) >= 5000]).toEqual([{ running: 0, waiting: 0, limit: 64 }, true]);
    expect([after?.load, (after?.loadAgeMs ?? 9999) < 5000]).toEqual([{ running: 0, waiting: 0, limit: 64 }, true]);
  }
});
