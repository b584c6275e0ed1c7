import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ServiceDefinition, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions, FailedAttempt } from '../../src/client/client-options.js';
import { AnyserveError } from '../../src/core/errors.js';
import { asEndpoint } from '../../src/core/ids.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { replica } from '../support/replicas.js';
import { constantRandom } from '../support/seeded-random.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function client(options: ClientOptions): InferenceClient {
  const made = new InferenceClient(options, { clock, random });
  cleanups.push(() => made.close());
  return made;
}

/** An API server that chooses the first of those that match. */
async function apiServer({ warmingMs = 0 } = {}): Promise<TestApiServer> {
  const server = await startTestApiServer({ random: constantRandom(0), warmingMs });
  cleanups.push(() => server.close());
  return server;
}

/** Registers an endpoint under an id for `type=x`; the registration stays, whatever becomes of the endpoint. */
async function offer(server: TestApiServer, id: string, endpoint: string): Promise<void> {
  await server.registry.register(
    { ...replica(id, { type: 'x' }), endpoint: asEndpoint(endpoint) },
    { host: '127.0.0.1' },
    () => {},
  );
}

/** A worker that answers who it is. */
async function answering(name: string): Promise<string> {
  const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ who: [name] })));
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

/** A server of the gRPC library that has these methods of the protocol. */
async function bareServer(methods: object): Promise<{ readonly endpoint: string; readonly server: Server }> {
  const server = new Server();
  server.addService(INFERENCE_SERVICE as unknown as ServiceDefinition, methods as never);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  cleanups.push(() => server.forceShutdown());
  return { endpoint: `127.0.0.1:${port}`, server };
}

/** A server of the protocol whose inferences all end with this status; counts them. */
async function failing(code: number) {
  const calls = { count: 0 };
  const { endpoint } = await bareServer({
    modelInfer: (_call: unknown, answer: (error: object) => void) => {
      calls.count++;
      answer({ code, details: 'as told' });
    },
    modelStreamInfer: (call: { emit(event: string, error: object): void }) => {
      calls.count++;
      call.emit('error', { code, details: 'as told' });
    },
  });
  return { endpoint, calls };
}

/** A worker whose streams break after their first part. */
async function halfway(): Promise<string> {
  const app = new App().capability({ type: 'x' }, async function* () {
    yield { who: ['halfway'] };
    throw new Error('midway');
  });
  const worker = await startTestWorker(app);
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

/** Something that takes connections and says nothing. */
async function silent(): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

const who = (answer: { outputs: Readonly<Record<string, { data: ArrayLike<unknown> }>> }): string =>
  new TextDecoder().decode(answer.outputs['who']?.data[0] as Uint8Array);

describe('a client', () => {
  it('wants an endpoint, or a server and a capability', () => {
    expect(() => client({})).toThrow('no target: give an endpoint, or a server and a capability');
    expect(() => client({ server: 'http://localhost:1' })).toThrow('no capability: with a server, give one such as');
    expect(() => client({ server: 'http://localhost:1', endpoint: 'a:1' })).toThrow(
      'give either an endpoint or a server',
    );
    expect(() => client({ endpoint: 'http://a:1' })).toThrow('"http://a:1" is the URL of an HTTP server');
  });

  it('discovers a replica, keeps to it, and says which it is', async () => {
    const server = await apiServer();
    await offer(server, 'r1', await answering('r1'));
    const asking = client({ server: server.url, capability: { type: 'x' } });
    expect(asking.endpoint).toBeUndefined();
    expect(who(await asking.infer('x', {}))).toBe('r1');
    expect(asking.replicaId).toBe('r1');
    await server.close();
    expect(who(await asking.infer('x', {}))).toBe('r1');
  });

  it('says what nobody offers', async () => {
    const server = await apiServer();
    const asking = client({ server: server.url, capability: { type: 'x', gpu: 1 } });
    await expect(asking.infer('x', {})).rejects.toMatchObject({
      code: 'no_match',
      message: 'no replica offers {"type":"x","gpu":"1"}',
    });
  });

  describe('of an API server that has just started', () => {
    it('waits for a replica that is on its way back', async () => {
      const server = await apiServer({ warmingMs: 60_000 });
      const asking = client({ server: server.url, capability: { type: 'x' } });
      const asked = asking.infer('x', {});
      const endpoint = await answering('r1');
      await offer(server, 'r1', endpoint);
      expect(who(await asked)).toBe('r1');
    });

    it('says that nobody is there when the server is warm, or the time is up, or it is told not to wait', async () => {
      const server = await apiServer({ warmingMs: 500 });
      const options = { server: server.url, capability: { type: 'x' } };
      const miss = { code: 'no_match', message: 'no replica offers {"type":"x"}' };
      await expect(client({ ...options, waitWhileWarming: false }).infer('x', {})).rejects.toMatchObject(miss);
      await expect(client({ ...options, timeoutMs: 100 }).infer('x', {})).rejects.toMatchObject(miss);
      await expect(client(options).infer('x', {})).rejects.toMatchObject(miss);
    });
  });

  it.each<[string, () => Promise<string>]>([
    ['is not there', async () => '127.0.0.1:1'],
    ['says nothing', silent],
    ['has no endpoint that can be dialled', async () => 'nonsense'],
    ['has the URL of an HTTP server for an endpoint', async () => 'http://127.0.0.1:1'],
    ['fails inside', async () => (await failing(status.INTERNAL)).endpoint],
    ['is full', async () => (await failing(status.RESOURCE_EXHAUSTED)).endpoint],
    ['does not have the model', async () => (await failing(status.NOT_FOUND)).endpoint],
    ['cannot do it', async () => (await failing(status.UNIMPLEMENTED)).endpoint],
  ])('moves on to another replica when one %s', async (_what, start) => {
    const server = await apiServer();
    const [bad, good] = await Promise.all([start(), answering('good')]);
    await offer(server, 'bad', bad);
    const attempts: FailedAttempt[] = [];
    const asking = client({
      server: server.url,
      capability: { type: 'x' },
      onRetry: (attempt) => attempts.push(attempt),
    });
    await offer(server, 'good', good);
    expect(who(await asking.infer('x', {}))).toBe('good');
    expect(asking.replicaId).toBe('good');
    expect(attempts.map(({ attempt, replicaId }) => [attempt, replicaId])).toEqual([[1, 'bad']]);
  });

  it.each(['INVALID_ARGUMENT', 'UNAUTHENTICATED', 'PERMISSION_DENIED', 'OUT_OF_RANGE'] as const)(
    'does not try %s elsewhere',
    async (name) => {
      const server = await apiServer();
      const { endpoint, calls } = await failing(status[name]);
      await offer(server, 'r1', endpoint);
      await offer(server, 'r2', endpoint);
      const asking = client({ server: server.url, capability: { type: 'x' } });
      await expect(asking.infer('x', {})).rejects.toMatchObject({
        code: name.toLowerCase(),
        message: `${endpoint}: as told`,
      });
      expect(calls.count).toBe(1);
    },
  );

  it('tries a failure inside the model at other replicas alone, a passing one at the same, too', async () => {
    const server = await apiServer();
    const inside = await failing(status.INTERNAL);
    await offer(server, 'r1', inside.endpoint);
    const asking = client({ server: server.url, capability: { type: 'x' } });
    await expect(asking.infer('x', {})).rejects.toMatchObject({
      code: 'internal',
      message: `${inside.endpoint}: as told; no other replica offers {"type":"x"}`,
    });
    expect(inside.calls.count).toBe(1);
    const passing = await failing(status.UNAVAILABLE);
    await offer(server, 'r1', passing.endpoint);
    await expect(asking.infer('x', {})).rejects.toMatchObject({ code: 'unavailable' });
    expect(passing.calls.count).toBe(5);
  });

  it('says why it cannot call a replica that has the URL of an HTTP server, and asks for no other twice', async () => {
    const server = await apiServer();
    await offer(server, 'r1', 'https://engine.test/v1');
    const asking = client({ server: server.url, capability: { type: 'x' } });
    await expect(asking.infer('x', {})).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringMatching(
        /^replica "r1": "https:\/\/engine.test\/v1" is the URL of an HTTP server, .*; no other/,
      ),
    });
  });

  it.each(['ipv4:127.0.0.1:', 'dns:///localhost:', 'dns:127.0.0.1:', '127.1:', '[::ffff:127.0.0.1]:'])(
    'calls a replica at %s',
    async (host) => {
      const port = (await answering('r1')).split(':').at(-1);
      expect(who(await client({ endpoint: `${host}${port}` }).infer('x', {}))).toBe('r1');
    },
  );

  it('gives up at the first failure when told to', async () => {
    const server = await apiServer();
    const { endpoint, calls } = await failing(status.UNAVAILABLE);
    await offer(server, 'r1', endpoint);
    const asking = client({ server: server.url, capability: { type: 'x' } });
    await expect(asking.infer('x', {}, { retryOnFailure: false })).rejects.toMatchObject({ code: 'unavailable' });
    expect(calls.count).toBe(1);
  });

  it('does not try past its deadline', async () => {
    const endpoint = await silent();
    const asking = client({ endpoint, timeoutMs: 300 });
    await expect(asking.infer('x', {})).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('finds a replica though little time is left', async () => {
    const server = await apiServer();
    await offer(server, 'r1', await answering('r1'));
    const asking = client({ server: server.url, capability: { type: 'x' }, timeoutMs: 1234.5 });
    expect(who(await asking.infer('x', {}))).toBe('r1');
  });

  it('moves on when a replica answers what does not hold', async () => {
    const server = await apiServer();
    const { endpoint } = await bareServer({
      modelInfer: (_call: unknown, answer: (error: null, message: object) => void) =>
        answer(null, {
          modelName: 'x',
          modelVersion: '',
          id: '',
          parameters: new Map(),
          outputs: [{ name: 'who', datatype: 'BYTES', shape: [3n], parameters: new Map(), contents: undefined }],
          rawOutputContents: [],
        }),
    });
    await offer(server, 'bad', endpoint);
    const asking = client({ server: server.url, capability: { type: 'x' } });
    await expect(asking.infer('x', {})).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(`${endpoint}: malformed response: output "who": shape [3] needs 3 elements`),
    });
    await offer(server, 'good', await answering('good'));
    expect(who(await asking.infer('x', {}))).toBe('good');
  });

  it("keeps to its replica after a failure that is the caller's own", async () => {
    const server = await apiServer();
    const app = new App().capability({ type: 'x' }, ({ wait }) => {
      if (wait) return new Promise<never>(() => {});
      return { who: ['r1'] };
    });
    const worker = await startTestWorker(app, { drainTimeoutMs: 100 });
    cleanups.push(() => worker.stop());
    await offer(server, 'r1', worker.replica.endpoint);
    const asking = client({ server: server.url, capability: { type: 'x' } });
    expect(who(await asking.infer('x', {}))).toBe('r1');
    await server.close();
    await expect(asking.infer('x', { wait: [1] }, { signal: AbortSignal.timeout(50) })).rejects.toThrow();
    await expect(asking.infer('x', { a: [{}] as never })).rejects.toMatchObject({ code: 'usage' });
    expect(who(await asking.infer('x', {}))).toBe('r1');
  });

  it('does not try again what is too large to be sent or taken', async () => {
    const server = await apiServer();
    let runs = 0;
    const app = new App().capability({ type: 'x' }, ({ bytes }) => {
      runs++;
      return { bytes: new Uint8Array(Number(bytes?.data[0])) };
    });
    for (const id of ['r1', 'r2']) {
      const worker = await startTestWorker(app);
      cleanups.push(() => worker.stop());
      await offer(server, id, worker.replica.endpoint);
    }
    const attempts: FailedAttempt[] = [];
    const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
    const asking = client({ server: server.url, capability: { type: 'x' }, maxMessageBytes: 4000, onRetry });
    await expect(asking.infer('x', { bytes: new Uint8Array(5000) })).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringMatching(/^the request has \d+ bytes, and the limit is 4000; see --max-message-bytes$/),
    });
    expect(runs).toBe(0);
    await expect(asking.infer('x', { bytes: Int32Array.of(5000) })).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringMatching(/: the response has \d+ bytes, and the limit is 4000; see --max-message-bytes$/),
    });
    expect([runs, attempts]).toEqual([1, []]);
  });

  it('says in the stack of its error who waits for the call', async () => {
    const { endpoint } = await failing(status.INTERNAL);
    async function whoeverAsks(): Promise<void> {
      await client({ endpoint }).infer('x', {});
    }
    const error = await whoeverAsks().catch((thrown) => thrown);
    expect(error.stack).toMatch(/^AnyserveError: .*as told\n(.*\n)*.* whoeverAsks /);
  });

  it('ends with its reason when it is cancelled while it connects', async () => {
    const asking = client({ endpoint: await silent() });
    const cancel = new AbortController();
    const call = asking.infer('x', {}, { signal: cancel.signal });
    setTimeout(() => cancel.abort(new Error('enough')), 50);
    await expect(call).rejects.toThrow('enough');
  });

  it('ends with its reason at once when it is cancelled while a model is asked what it declares', async () => {
    const asking = client({ endpoint: await silent() });
    const cancel = new AbortController();
    const startedAtMs = clock.nowMs();
    const call = asking.infer('x', { a: [1] }, { signal: cancel.signal });
    setTimeout(() => cancel.abort(new Error('enough')), 50);
    await expect(call).rejects.toThrow('enough');
    expect(clock.nowMs() - startedAtMs).toBeLessThan(2000);
  });

  it('ends every call when it is closed, and takes no more', async () => {
    const app = new App().capability({ type: 'x' }, () => new Promise<never>(() => {}));
    const worker = await startTestWorker(app, { drainTimeoutMs: 100 });
    cleanups.push(() => worker.stop());
    const asking = client({ endpoint: worker.replica.endpoint });
    const call = asking.infer('x', {});
    const stream = asking.inferStream('x', {}).next();
    await asking.serverLive();
    await asking.close();
    for (const ended of [call, stream, asking.infer('x', {})]) {
      await expect(ended).rejects.toMatchObject({ code: 'cancelled', message: 'the client is closed' });
    }
  });

  it('holds its deadline though the model is asked what it declares first', async () => {
    const { endpoint } = await bareServer({ modelMetadata: () => {}, modelInfer: () => {} });
    const startedAtMs = clock.nowMs();
    const call = client({ endpoint }).infer('x', { a: [1] }, { timeoutMs: 500 });
    await expect(call).rejects.toMatchObject({ code: 'deadline_exceeded' });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(950);
  });

  it('waits for what a model declares for as long as each call has time', async () => {
    const sent: string[] = [];
    const { endpoint } = await bareServer({
      modelMetadata: (_call: unknown, answer: (error: null, message: object) => void) => {
        const inputs = [{ name: 'a', datatype: 'FP64', shape: [-1n] }];
        const declared = { name: 'x', versions: [], platform: '', inputs, outputs: [], properties: new Map() };
        setTimeout(() => answer(null, declared), 400);
      },
      modelInfer: (call: { request: { inputs: { datatype: string }[] } }, answer: (error: object) => void) => {
        sent.push(call.request.inputs[0]?.datatype ?? '');
        answer({ code: status.INTERNAL, details: 'seen' });
      },
    });
    const asking = client({ endpoint });
    const [hasty, patient] = [200, 5000].map((timeoutMs) => asking.infer('x', { a: [1] }, { timeoutMs }));
    await expect(hasty).rejects.toMatchObject({ code: 'deadline_exceeded' });
    await expect(patient).rejects.toThrow('seen');
    expect(sent).toEqual(['FP64']);
  });

  it('leaves nothing open when it is closed while a model is asked what it declares', async () => {
    let asked = (): void => {};
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const { endpoint, server } = await bareServer({ modelMetadata: asked });
    const asking = client({ endpoint });
    const call = asking.infer('x', { a: [1] });
    await isAsked;
    await asking.close();
    await expect(call).rejects.toThrow('the client is closed');
    const startedAtMs = clock.nowMs();
    await new Promise<void>((resolve, reject) => server.tryShutdown((error) => (error ? reject(error) : resolve())));
    expect(clock.nowMs() - startedAtMs).toBeLessThan(2000);
  });

  it('leaves nothing open when it is closed, though a stream was left in the middle', async () => {
    const server = createHttp2Server().on('stream', (stream) => {
      const part = INFERENCE_SERVICE.modelStreamInfer.responseSerialize({
        errorMessage: '',
        inferResponse: {
          modelName: 'x',
          modelVersion: '',
          id: '',
          parameters: new Map(),
          outputs: [],
          rawOutputContents: [],
        },
      });
      stream.on('error', () => {});
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' });
      stream.write(Buffer.concat([Buffer.of(0, 0, 0, 0, part.length), part]));
    });
    // Who is called is reached first, by a connection that is closed at once; this is the one of the call.
    const isClosed = new Promise<string>((resolve) =>
      server.on('stream', ({ session }) => session?.on('close', () => resolve('closed'))),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => server.close());
    const asking = client({ endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}` });
    const parts = asking.inferStream('x', {});
    await parts.next();
    await asking.close();
    const late = new Promise<string>((resolve) => setTimeout(() => resolve('open after 2 s'), 2000));
    expect(await Promise.race([isClosed, late])).toBe('closed');
    await expect(parts.next()).rejects.toThrow('the client is closed');
  });

  it('asks a model again what it declares when it could not say', async () => {
    let asked = 0;
    const sent: string[] = [];
    const { endpoint } = await bareServer({
      modelMetadata: (_call: unknown, answer: (error: object | null, message?: object) => void) => {
        asked++;
        if (asked === 1) answer({ code: status.UNAVAILABLE, details: 'not yet' });
        else
          answer(null, {
            name: 'x',
            versions: [],
            platform: '',
            inputs: [{ name: 'a', datatype: 'FP64', shape: [-1n] }],
            outputs: [],
            properties: new Map(),
          });
      },
      modelInfer: (call: { request: { inputs: { datatype: string }[] } }, answer: (error: object) => void) => {
        sent.push(call.request.inputs[0]?.datatype ?? '');
        answer({ code: status.INTERNAL, details: 'seen' });
      },
    });
    const asking = client({ endpoint });
    for (let n = 0; n < 3; n++) await asking.infer('x', { a: [1] }).catch(() => {});
    expect([asked, sent]).toEqual([2, ['INT32', 'FP64', 'FP64']]);
  });

  it('takes what a model declares for a hint alone', async () => {
    const { endpoint } = await failing(status.INTERNAL);
    await expect(client({ endpoint }).infer('x', { a: [1] })).rejects.toThrow(`${endpoint}: as told`);
    await expect(client({ endpoint }).infer('x', { a: [1, 'x'] })).rejects.toMatchObject({ code: 'usage' });
  });

  it('tries a stream elsewhere only before its first part', async () => {
    const server = await apiServer();
    const { endpoint } = await failing(status.UNAVAILABLE);
    await offer(server, 'bad', endpoint);
    const asking = client({ server: server.url, capability: { type: 'x' } });
    await offer(server, 'good', await answering('good'));
    const parts = asking.inferStream('x', {});
    expect(who((await parts.next()).value as never)).toBe('good');
    expect((await parts.next()).done).toBe(true);
    const other = await apiServer();
    await offer(other, 'bad', await halfway());
    const broken = client({ server: other.url, capability: { type: 'x' } }).inferStream('x', {});
    expect((await broken.next()).done).toBe(false);
    await expect(broken.next()).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('midway') });
  });

  it('sends plain numbers in the datatype that the model declares', async () => {
    const app = new App().capability(
      { type: 'x' },
      { inputs: { a: 'FP64', b: 'UINT8[1]', c: 'FP16' } },
      ({ a, b, c }) => ({ a: a as never, b: b as never, c: c as never }),
    );
    const worker = await startTestWorker(app);
    cleanups.push(() => worker.stop());
    const asking = client({ endpoint: worker.replica.endpoint });
    const { outputs } = await asking.infer('x', { a: [1, 2], b: [7], c: [0.5] });
    expect(outputs['a']).toEqual({ datatype: 'FP64', shape: [2], data: Float64Array.of(1, 2) });
    expect(outputs['b']).toEqual({ datatype: 'UINT8', shape: [1], data: Uint8Array.of(7) });
    expect(outputs['c']).toEqual({ datatype: 'FP16', shape: [1], data: Float32Array.of(0.5) });
    await expect(asking.infer('x', { a: [1], b: [256], c: [0] })).rejects.toMatchObject({
      code: 'usage',
      message: 'input "b" (the model declares UINT8[1]): 256 is not a valid UINT8',
    });
  });

  it('sends plain values in the shape that the model declares, and any other value as it is', async () => {
    const app = new App().capability({ type: 'x' }, { inputs: { a: 'FP32[-1,3]', b: 'BYTES[-1,1]?' } }, (inputs) =>
      Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, Int32Array.from(tensor?.shape ?? [])])),
    );
    const worker = await startTestWorker(app);
    cleanups.push(() => worker.stop());
    const asking = client({ endpoint: worker.replica.endpoint });
    const { outputs } = await asking.infer('x', { a: [1, 2, 3], b: 'text' });
    expect([outputs['a']?.data, outputs['b']?.data]).toEqual([Int32Array.of(1, 3), Int32Array.of(1, 1)]);
    await expect(asking.infer('x', { a: [1, 2, 3, 4] })).rejects.toMatchObject({
      code: 'usage',
      message: 'input "a": the model declares FP32[-1,3], got a list of 4',
    });
    await expect(asking.infer('x', { a: [1, 2, 3], c: 1 })).rejects.toMatchObject({
      code: 'usage',
      message: 'model "x" has no input "c"; its inputs: "a", "b"',
    });
    await expect(asking.infer('x', { b: 'text' })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('model "x" needs input "a"'),
    });
    for (const exact of [Float32Array.of(1, 2, 3), { datatype: 'FP32', shape: [3], data: [1, 2, 3] } as never]) {
      await expect(asking.infer('x', { a: exact, b: 'text' })).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining('the model declares FP32[-1,3], got FP32[3]'),
      });
    }
  });

  it('asks a model once a connection what it declares, and not at all when all is said', async () => {
    const methods: string[] = [];
    const { endpoint } = await bareServer({
      modelMetadata: (_call: unknown, answer: (error: null, message: object) => void) => {
        methods.push('metadata');
        const inputs = [{ name: 'a', datatype: 'FP64', shape: [-1n] }];
        answer(null, { name: 'x', versions: [], platform: '', inputs, outputs: [], properties: new Map() });
      },
      modelInfer: (_call: unknown, answer: (error: object) => void) => {
        methods.push('infer');
        answer({ code: status.INTERNAL, details: 'seen' });
      },
    });
    const asking = client({ endpoint });
    for (const a of [Float64Array.of(1), [1], [2]]) await asking.infer('x', { a }).catch(() => {});
    expect(methods).toEqual(['infer', 'metadata', 'infer', 'infer']);
  });

  it('takes the whole answer of a replica that cannot stream when it may', async () => {
    const server = await apiServer();
    const calls: string[] = [];
    const { endpoint } = await bareServer({
      modelInfer: (_call: unknown, answer: (error: null, message: object) => void) => {
        calls.push('modelInfer');
        const outputs = [{ name: 'who', datatype: 'BYTES', shape: [1n], parameters: new Map(), contents: undefined }];
        const rawOutputContents = [Buffer.from('\x05\0\0\0unary')];
        answer(null, { modelName: 'x', modelVersion: '', id: '', parameters: new Map(), outputs, rawOutputContents });
      },
    });
    await offer(server, 'unary', endpoint);
    const attempts: FailedAttempt[] = [];
    const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
    const asking = client({ server: server.url, capability: { type: 'x' }, onRetry });
    const parts: string[] = [];
    for await (const part of asking.inferStream('x', {}, { fallBackToUnary: true })) parts.push(who(part));
    expect([parts, calls, attempts, asking.replicaId]).toEqual([['unary'], ['modelInfer'], [], 'unary']);
    await expect(asking.inferStream('x', {}).next()).rejects.toMatchObject({ code: 'unimplemented' });
    expect(calls).toHaveLength(1);
  });

  it.each([false, true])(
    'moves a stream on when a replica cannot do what is asked; with fallBackToUnary %s',
    async (fallBackToUnary) => {
      const server = await apiServer();
      const unable = await startTestWorker(
        new App().capability({ type: 'x' }, () => {
          throw new AnyserveError('unimplemented', 'parameter "top_k" is not known');
        }),
      );
      cleanups.push(() => unable.stop());
      await offer(server, 'unable', unable.replica.endpoint);
      const attempts: FailedAttempt[] = [];
      const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
      const asking = client({ server: server.url, capability: { type: 'x' }, onRetry });
      await offer(server, 'able', await answering('able'));
      const parts: string[] = [];
      for await (const part of asking.inferStream('x', {}, { fallBackToUnary })) parts.push(who(part));
      expect(parts).toEqual(['able']);
      expect(attempts.map(({ replicaId, error }) => [replicaId, error.code])).toEqual([['unable', 'unimplemented']]);
    },
  );

  it('takes a failure that comes after a part for no lack of streams', async () => {
    let runs = 0;
    const app = new App().capability({ type: 'x' }, async function* () {
      runs++;
      yield { who: ['half'] };
      throw new AnyserveError('unimplemented', 'the other half');
    });
    const worker = await startTestWorker(app);
    cleanups.push(() => worker.stop());
    const parts = client({ endpoint: worker.replica.endpoint }).inferStream('x', {}, { fallBackToUnary: true });
    expect((await parts.next()).done).toBe(false);
    await expect(parts.next()).rejects.toMatchObject({ code: 'unimplemented' });
    expect(runs).toBe(1);
  });

  it('makes 200 calls at once', async () => {
    const worker = await startTestWorker(
      new App().capability({ type: 'x' }, (inputs) => inputs),
      { maxQueue: 1000 },
    );
    cleanups.push(() => worker.stop());
    const asking = client({ endpoint: worker.replica.endpoint });
    const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => asking.infer('x', { n: [n] })));
    expect(answers.map(({ outputs }) => Number(outputs['n']?.data[0]))).toEqual(
      Array.from({ length: 200 }, (_, n) => n),
    );
  });
});
