import { afterEach, expect, it } from 'vitest';
import { App, Client } from '../../src/index.js';
import { startTestApiServer } from '../support/api-server.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

it('a call at a replica that does not respond is made at another one, and cancelled at the first', async () => {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  const cancelledAtMs: number[] = [];
  const hangingApp = new App().capability(
    { type: 'x' },
    (_inputs, { signal }) =>
      new Promise<never>((_resolve, reject) => {
        signal.addEventListener('abort', () => {
          cancelledAtMs.push(performance.now());
          reject(signal.reason);
        });
      }),
  );
  const respondingApp = new App().capability({ type: 'x' }, () => ({ who: ['second'] }));
  for (const app of [hangingApp, respondingApp]) {
    const worker = await startTestWorker(app, { servers: [server.url], drainTimeoutMs: 0 });
    cleanups.push(() => worker.stop());
  }
  const client = new Client({ server: server.url, capability: { type: 'x' }, pick: 'round-robin', hedgeAfterMs: 100 });
  cleanups.push(() => client.close());
  await until('the client knows both', async () => (await client.replicas()).length === 2);
  for (let call = 0; call < 4; call++) {
    const { outputs } = await client.infer('x', {});
    expect(String(outputs['who']?.data[0])).toBe('second');
    const respondedAtMs = performance.now();
    await until('each call at the first replica is cancelled', async () =>
      (await client.replicas()).every(({ callsInProgress }) => callsInProgress === 0),
    );
    for (const atMs of cancelledAtMs.splice(0)) expect(atMs - respondedAtMs).toBeLessThan(5000);
  }
});

it('a stream without a message is also requested from another replica, and ends at the first', async () => {
  const server = await startTestApiServer();
  cleanups.push(() => server.close());
  let hanging = 0;
  const hangingApp = new App().capability({ type: 'x' }, async function* (_inputs, { signal }) {
    hanging++;
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    hanging--;
    yield { n: [0] };
  });
  const respondingApp = new App().capability({ type: 'x' }, async function* () {
    for (let n = 1; n <= 3; n++) yield { n: [n] };
  });
  for (const app of [hangingApp, respondingApp]) {
    const worker = await startTestWorker(app, { servers: [server.url], drainTimeoutMs: 0 });
    cleanups.push(() => worker.stop());
  }
  const client = new Client({ server: server.url, capability: { type: 'x' }, pick: 'round-robin', hedgeAfterMs: 100 });
  cleanups.push(() => client.close());
  await until('the client knows both', async () => (await client.replicas()).length === 2);
  for (let call = 0; call < 2; call++) {
    const received: number[] = [];
    for await (const { outputs } of client.inferStream('x', {})) received.push(Number(outputs['n']?.data[0]));
    expect(received).toEqual([1, 2, 3]);
    await until('the stream at the first replica has ended', () => hanging === 0);
  }
  const replicas = await client.replicas();
  expect(replicas.map(({ callsInProgress, ejectedForMs }) => [callsInProgress, ejectedForMs])).toEqual([
    [0, 0],
    [0, 0],
  ]);
});
