import { createServer as createHttp2Server } from 'node:http2';
import { createServer } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions, FailedAttempt } from '../../src/client/client-options.js';
import { asEndpoint } from '../../src/core/ids.js';
import type { CallEvent, Tracer } from '../../src/core/ports.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { startBareServer } from '../support/bare-server.js';
import { replica } from '../support/replicas.js';
import { createConstantRandom } from '../support/seeded-random.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Creates a client whose clock the test can advance. */
function createClient(options: ClientOptions) {
  let aheadMs = 0;
  const world = { clock: { ...clock, nowMs: () => clock.nowMs() + aheadMs }, random };
  const client = new InferenceClient(options, world);
  cleanups.push(() => client.close());
  const advance = (ms: number): void => {
    aheadMs += ms;
  };
  return { client: client, advance };
}

async function startApiServer(): Promise<TestApiServer> {
  const server = await startTestApiServer({ random: createConstantRandom(0) });
  cleanups.push(() => server.close());
  return server;
}

async function registerEndpoint(server: TestApiServer, id: string, endpoint: string): Promise<() => Promise<unknown>> {
  const offered = new SerializedReplica({ ...replica(id, { type: 'x' }), endpoint: asEndpoint(endpoint) });
  const lease = await server.registry.register(offered, { host: '127.0.0.1' }, () => {});
  return async () => server.registry.release(lease, 'closed');
}

async function startWorker(name: string): Promise<string> {
  const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ who: [name] })));
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

/** Starts a gRPC server that is live, and reports the header `traceparent` of each call. */
async function startHeaderServer(onCall: (traceparent: string | undefined) => void): Promise<string> {
  const server = createHttp2Server();
  server.on('stream', (stream, headers) => {
    onCall(headers['traceparent']?.toString());
    const isLive = headers[':path'] === INFERENCE_SERVICE.serverLive.path;
    stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': isLive ? '0' : '3' }));
    // A message of 2 bytes: field 1, `live`, is true.
    stream.end(isLive ? Buffer.from([0, 0, 0, 0, 2, 8, 1]) : undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

/** Starts a server that behaves like a stopped process: the kernel accepts its connections, and nothing responds. */
async function startUnresponsiveServer(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => server.close());
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

describe('an unreachable replica', () => {
  const OPERATIONS: [string, (client: InferenceClient) => Promise<unknown>][] = [
    ['an inference with a plain value', (client) => client.infer('x', { a: [1] })],
    ['an inference with a typed value', (client) => client.infer('x', { a: Float32Array.of(1) })],
    ['a stream', (client) => client.inferStream('x', { a: [1] }).next()],
    ['metadata', (client) => client.modelMetadata('x')],
    ['readiness', (client) => client.modelReady('x')],
  ];

  it.each(OPERATIONS)('fails %s within the connect timeout when its process is stopped', async (_what, ask) => {
    const startedAtMs = clock.nowMs();
    await expect(ask(createClient({ endpoint: await startUnresponsiveServer() }).client)).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(4500);
  });

  it.each(OPERATIONS)('fails %s at once when nothing listens', async (_what, ask) => {
    const startedAtMs = clock.nowMs();
    await expect(ask(createClient({ endpoint: '127.0.0.1:1' }).client)).rejects.toMatchObject({
      code: 'unavailable',
      message: '127.0.0.1:1: nothing listens there',
    });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(1500);
  });

  it('fails the call within the connect timeout when its process is stopped and no other replica matches', async () => {
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', await startUnresponsiveServer());
    const { client } = createClient({ server: server.url, capability: { type: 'x' } });
    const startedAtMs = clock.nowMs();
    await expect(client.infer('x', { a: [1] })).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/: no gRPC server responds there; no other replica offers \{"type":"x"\}$/),
    });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(4500);
  });

  it('is retried when no other replica matches; otherwise the retry names the other replica', async () => {
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', '127.0.0.1:1');
    const attempts: FailedAttempt[] = [];
    const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
    const options = { server: server.url, capability: { type: 'x' }, onRetry };
    await expect(createClient(options).client.infer('x', {})).rejects.toMatchObject({ code: 'unavailable' });
    const nexts = attempts.map(({ replicaId, next }) => `${replicaId} -> ${next.replicaId}`);
    expect(nexts).toEqual(nexts.map(() => 'r1 -> r1'));
    attempts.length = 0;
    await registerEndpoint(server, 'r2', await startWorker('r2'));
    await createClient(options).client.infer('x', {});
    expect(attempts).toMatchObject([{ attempt: 1, replicaId: 'r1', next: { replicaId: 'r2' } }]);
  });
});

it('emits an event at the start and at the end of each attempt', async () => {
  const server = await startApiServer();
  await registerEndpoint(server, 'r1', '127.0.0.1:1');
  const good = await startWorker('r2');
  await registerEndpoint(server, 'r2', good);
  const events: CallEvent[] = [];
  const onAttempt = (event: CallEvent): void => void events.push(event);
  const { client } = createClient({ server: server.url, capability: { type: 'x' }, onAttempt });
  await client.infer('x', {});
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
  for await (const _part of createClient({ endpoint: good, onAttempt }).client.inferStream('x', {})) break;
  expect(events.map((event) => (event.kind === 'attempt_ended' ? event.code : event.kind))).toEqual([
    'attempt_started',
    'cancelled',
  ]);
});

describe('a tracer', () => {
  it('adds headers to the request of each attempt, and receives how each ends', async () => {
    const received: (string | undefined)[] = [];
    const grpcServer = await startHeaderServer((traceparent) => received.push(traceparent));
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', '127.0.0.1:1');
    await registerEndpoint(server, 'r2', grpcServer);
    const ended: unknown[] = [];
    const tracer: Tracer = {
      startAttempt: ({ target, attempt }) => ({
        headers: { traceparent: `${target.replicaId}-${attempt}` },
        end: ({ code, durationMs }) => ended.push([attempt, code, durationMs >= 0]),
      }),
    };
    const { client } = createClient({ server: server.url, capability: { type: 'x' }, tracer });
    expect(await client.serverLive()).toBe(true);
    await expect(client.inferStream('x', { a: Float32Array.of(1) }).next()).rejects.toThrow();
    expect(received[0]).toBe('r2-2');
    expect(ended.slice(0, 2)).toEqual([
      [1, 'unavailable', true],
      [2, 'ok', true],
    ]);
    const ofStream = received.slice(1);
    expect(ofStream.some((header) => header?.startsWith('r2-'))).toBe(true);
  });
});

describe('a discovered replica', () => {
  it('is no longer called within 1 s after it has left the list', async () => {
    const server = await startApiServer();
    const release = await registerEndpoint(server, 'r1', await startWorker('r1'));
    const { client } = createClient({ server: server.url, capability: { type: 'x' } });
    await client.infer('x', {});
    await release();
    await registerEndpoint(server, 'r2', await startWorker('r2'));
    const callsOther = async (): Promise<boolean> => {
      await client.infer('x', {});
      return client.replicaId === 'r2';
    };
    await until('calls go to the other replica', callsOther, 1000);
    for (let n = 0; n < 20; n++) expect(await callsOther()).toBe(true);
  });

  it('no longer matches when it has left the list and no other replica offers the same', async () => {
    const server = await startApiServer();
    const release = await registerEndpoint(server, 'r1', await startWorker('r1'));
    const { client } = createClient({ server: server.url, capability: { type: 'x' } });
    await client.infer('x', {});
    await release();
    const getCode = () =>
      client.infer('x', {}).then(
        () => 'ok',
        ({ code }) => code,
      );
    await until('no replica matches', async () => (await getCode()) === 'no_match', 1000);
  });

  it('is still called while no API server is reachable', async () => {
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', await startWorker('r1'));
    const { client, advance } = createClient({ server: server.url, capability: { type: 'x' } });
    await client.infer('x', {});
    await server.close();
    advance(60_000);
    await client.infer('x', {});
    expect(client.replicaId).toBe('r1');
  });
});

it('a call to a hung replica that leaves the list is retried on another replica', async () => {
  const server = await startApiServer();
  let called = (): void => {};
  const isCalled = new Promise<void>((resolve) => {
    called = resolve;
  });
  const hanging = await startBareServer({ modelInfer: called, serverLive: () => {} });
  cleanups.push(() => hanging.server.forceShutdown());
  const release = await registerEndpoint(server, 'r1', hanging.endpoint);
  const attempts: string[] = [];
  const onRetry = ({ error }: FailedAttempt): void => void attempts.push(error.message);
  const { client } = createClient({ server: server.url, capability: { type: 'x' }, onRetry });
  const calling = client.infer('x', {});
  await isCalled;
  await release();
  await registerEndpoint(server, 'r2', await startWorker('r2'));
  await calling;
  expect(client.replicaId).toBe('r2');
  expect(attempts).toEqual([`${hanging.endpoint}: the replica is no longer listed and does not respond`]);
});
