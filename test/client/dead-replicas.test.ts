import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions, FailedAttempt } from '../../src/client/client-options.js';
import { asEndpoint } from '../../src/core/ids.js';
import type { CallEvent } from '../../src/core/ports.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { startBareServer } from '../support/bare-server.js';
import { replica } from '../support/replicas.js';
import { constantRandom } from '../support/seeded-random.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** A client whose clock a test can put forward. */
function client(options: ClientOptions) {
  let aheadMs = 0;
  const world = { clock: { ...clock, nowMs: () => clock.nowMs() + aheadMs }, random };
  const made = new InferenceClient(options, world);
  cleanups.push(() => made.close());
  const later = (ms: number): void => {
    aheadMs += ms;
  };
  return { asking: made, later };
}

async function apiServer(): Promise<TestApiServer> {
  const server = await startTestApiServer({ random: constantRandom(0) });
  cleanups.push(() => server.close());
  return server;
}

async function offer(server: TestApiServer, id: string, endpoint: string): Promise<() => Promise<unknown>> {
  const offered = { ...replica(id, { type: 'x' }), endpoint: asEndpoint(endpoint) };
  const lease = await server.registry.register(offered, { host: '127.0.0.1' }, () => {});
  return async () => server.registry.release(lease, 'closed');
}

async function answering(name: string): Promise<string> {
  const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ who: [name] })));
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

/** A process that stands still: its kernel takes connections. */
async function frozen(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

describe('a replica that cannot be reached', () => {
  const QUESTIONS: [string, (asking: InferenceClient) => Promise<unknown>][] = [
    ['an inference with a plain value', (asking) => asking.infer('x', { a: [1] })],
    ['an inference with a typed value', (asking) => asking.infer('x', { a: Float32Array.of(1) })],
    ['a stream', (asking) => asking.inferStream('x', { a: [1] }).next()],
    ['metadata', (asking) => asking.modelMetadata('x')],
    ['readiness', (asking) => asking.modelReady('x')],
  ];

  it.each(QUESTIONS)('that stands still fails %s within one time to connect', async (_what, ask) => {
    const startedAtMs = clock.nowMs();
    await expect(ask(client({ endpoint: await frozen() }).asking)).rejects.toMatchObject({ code: 'unavailable' });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(4500);
  });

  it.each(QUESTIONS)('that is not there fails %s at once', async (_what, ask) => {
    const startedAtMs = clock.nowMs();
    await expect(ask(client({ endpoint: '127.0.0.1:1' }).asking)).rejects.toMatchObject({
      code: 'unavailable',
      message: '127.0.0.1:1: nothing listens there',
    });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(1500);
  });

  it('is tried again where no other matches, and else another is, which is said', async () => {
    const server = await apiServer();
    await offer(server, 'r1', '127.0.0.1:1');
    const attempts: FailedAttempt[] = [];
    const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
    const options = { server: server.url, capability: { type: 'x' }, onRetry };
    await expect(client(options).asking.infer('x', {})).rejects.toMatchObject({ code: 'unavailable' });
    const nexts = attempts.map(({ replicaId, next }) => `${replicaId} -> ${next.replicaId}`);
    expect(nexts).toEqual(nexts.map(() => 'r1 -> r1'));
    attempts.length = 0;
    await offer(server, 'r2', await answering('r2'));
    await client(options).asking.infer('x', {});
    expect(attempts).toMatchObject([{ attempt: 1, replicaId: 'r1', next: { replicaId: 'r2' } }]);
  });
});

it('each attempt of a call is an event when it starts and when it ends', async () => {
  const server = await apiServer();
  await offer(server, 'r1', '127.0.0.1:1');
  const good = await answering('r2');
  await offer(server, 'r2', good);
  const events: CallEvent[] = [];
  const onAttempt = (event: CallEvent): void => void events.push(event);
  const { asking } = client({ server: server.url, capability: { type: 'x' }, onAttempt });
  await asking.infer('x', {});
  const [first, second] = [
    { endpoint: '127.0.0.1:1', replicaId: 'r1' },
    { endpoint: good, replicaId: 'r2' },
  ];
  expect(events).toEqual([
    { kind: 'attempt_started', target: first, attempt: 1 },
    { kind: 'attempt_ended', target: first, attempt: 1, code: 'unavailable', durationMs: expect.any(Number) },
    { kind: 'attempt_started', target: second, attempt: 2 },
    { kind: 'attempt_ended', target: second, attempt: 2, code: 'ok', durationMs: expect.any(Number) },
  ]);
  events.length = 0;
  for await (const _part of asking.inferStream('x', {})) break;
  expect(events.map((event) => (event.kind === 'attempt_ended' ? event.code : event.kind))).toEqual([
    'attempt_started',
    'cancelled',
  ]);
});

describe('a replica that was called before', () => {
  it('is not called again after 3 s of silence when it has left the list', async () => {
    const server = await apiServer();
    const leave = await offer(server, 'r1', await answering('r1'));
    const { asking, later } = client({ server: server.url, capability: { type: 'x' } });
    await asking.infer('x', {});
    await leave();
    await offer(server, 'r2', await answering('r2'));
    await asking.infer('x', {});
    expect(asking.replicaId).toBe('r1');
    later(3001);
    await asking.infer('x', {});
    expect(asking.replicaId).toBe('r2');
  });

  it('is no match any more when nobody else offers what it did', async () => {
    const server = await apiServer();
    const leave = await offer(server, 'r1', await answering('r1'));
    const { asking, later } = client({ server: server.url, capability: { type: 'x' } });
    await asking.infer('x', {});
    await leave();
    later(3001);
    await expect(asking.infer('x', {})).rejects.toMatchObject({ code: 'no_match' });
  });

  it('is called while no API server answers', async () => {
    const server = await apiServer();
    await offer(server, 'r1', await answering('r1'));
    const { asking, later } = client({ server: server.url, capability: { type: 'x' } });
    await asking.infer('x', {});
    await server.close();
    later(60_000);
    await asking.infer('x', {});
    expect(asking.replicaId).toBe('r1');
  });
});

it('a call at a replica that hangs and leaves the list is made at another', async () => {
  const server = await apiServer();
  let called = (): void => {};
  const isCalled = new Promise<void>((resolve) => {
    called = resolve;
  });
  const hanging = await startBareServer({ modelInfer: called });
  cleanups.push(() => hanging.server.forceShutdown());
  const leave = await offer(server, 'r1', hanging.endpoint);
  const attempts: string[] = [];
  const onRetry = ({ error }: FailedAttempt): void => void attempts.push(error.message);
  const { asking } = client({ server: server.url, capability: { type: 'x' }, onRetry });
  const calling = asking.infer('x', {});
  await isCalled;
  await leave();
  await offer(server, 'r2', await answering('r2'));
  await calling;
  expect(asking.replicaId).toBe('r2');
  expect(attempts).toEqual([`${hanging.endpoint}: the replica is no longer listed and does not respond`]);
});
