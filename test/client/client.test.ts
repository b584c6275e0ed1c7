import { createServer as createHttp2Server } from 'node:http2';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ServiceDefinition, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it } from 'vitest';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { InferenceClient } from '../../src/client/client.js';
import type { ClientOptions, FailedAttempt } from '../../src/client/client-options.js';
import { AnyserveError } from '../../src/core/errors.js';
import { asEndpoint } from '../../src/core/ids.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { replica } from '../support/replicas.js';
import { createConstantRandom } from '../support/seeded-random.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function createClient(options: ClientOptions): InferenceClient {
  const client = new InferenceClient(options, { clock, random });
  cleanups.push(() => client.close());
  return client;
}

/** Starts an API server whose random choice is always the first match. */
async function startApiServer({ warmingMs = 0 } = {}): Promise<TestApiServer> {
  const server = await startTestApiServer({ random: createConstantRandom(0), warmingMs });
  cleanups.push(() => server.close());
  return server;
}

/** Registers an endpoint under an id for `type=x`. The registration stays even when nothing listens at the endpoint. */
async function registerEndpoint(server: TestApiServer, id: string, endpoint: string): Promise<void> {
  await server.registry.register(
    new SerializedReplica({ ...replica(id, { type: 'x' }), endpoint: asEndpoint(endpoint) }),
    { host: '127.0.0.1' },
    () => {},
  );
}

/** Starts a worker that responds with this name. */
async function startWorker(name: string): Promise<string> {
  const worker = await startTestWorker(new App().capability({ type: 'x' }, () => ({ who: [name] })));
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

/** Starts a plain grpc-js server that implements these methods of the inference service. */
async function startMethods(methods: object): Promise<{ readonly endpoint: string; readonly server: Server }> {
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

/** Starts a server whose inference calls all fail with this status, and counts them. */
async function startFailingServer(code: number) {
  const calls = { count: 0 };
  const { endpoint } = await startMethods({
    modelInfer: (_call: unknown, respond: (error: object) => void) => {
      calls.count++;
      respond({ code, details: 'as requested' });
    },
    modelStreamInfer: (call: { emit(event: string, error: object): void }) => {
      calls.count++;
      call.emit('error', { code, details: 'as requested' });
    },
  });
  return { endpoint, calls };
}

/** Starts a worker whose streams break after the first message. */
async function startBreakingWorker(): Promise<string> {
  const app = new App().capability({ type: 'x' }, async function* () {
    yield { who: ['halfway'] };
    throw new Error('midway');
  });
  const worker = await startTestWorker(app);
  cleanups.push(() => worker.stop());
  return worker.replica.endpoint;
}

/** Starts a server that accepts connections and never responds. */
async function startSilentServer(): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as { port: number }).port}`;
}

const readName = (response: { outputs: Readonly<Record<string, { data: ArrayLike<unknown> }>> }): string =>
  new TextDecoder().decode(response.outputs['who']?.data[0] as Uint8Array);

describe('InferenceClient', () => {
  it('requires an endpoint, or a server and a capability', () => {
    expect(() => createClient({})).toThrow('no target: give an endpoint, or a server and a capability');
    expect(() => createClient({ server: 'http://localhost:1' })).toThrow(
      'no capability: with a server, give one such as',
    );
    expect(() => createClient({ server: 'http://localhost:1', endpoint: 'a:1' })).toThrow(
      'give either an endpoint or a server',
    );
    expect(() => createClient({ endpoint: 'http://a:1' })).toThrow('"http://a:1" is the URL of an HTTP server');
  });

  it('discovers a replica, keeps to it, and exposes its id', async () => {
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', await startWorker('r1'));
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    expect(client.endpoint).toBeUndefined();
    expect(readName(await client.infer('x', {}))).toBe('r1');
    expect(client.replicaId).toBe('r1');
    await server.close();
    expect(readName(await client.infer('x', {}))).toBe('r1');
  });

  it('names the capability that no replica offers', async () => {
    const server = await startApiServer();
    const client = createClient({ server: server.url, capability: { type: 'x', gpu: 1 } });
    await expect(client.infer('x', {})).rejects.toMatchObject({
      code: 'no_match',
      message: 'no replica offers {"type":"x","gpu":"1"}',
    });
  });

  describe('during the warm-up of an API server', () => {
    it('waits for a replica that registers during the warm-up', async () => {
      const server = await startApiServer({ warmingMs: 60_000 });
      const client = createClient({ server: server.url, capability: { type: 'x' } });
      const asked = client.infer('x', {});
      const endpoint = await startWorker('r1');
      await registerEndpoint(server, 'r1', endpoint);
      expect(readName(await asked)).toBe('r1');
    });

    it('fails with no_match after the warm-up, at the deadline, or at once with waitWhileWarming: false', async () => {
      const server = await startApiServer({ warmingMs: 2500 });
      const options = { server: server.url, capability: { type: 'x' } };
      const miss = { code: 'no_match', message: 'no replica offers {"type":"x"}' };
      await expect(createClient({ ...options, waitWhileWarming: false }).infer('x', {})).rejects.toMatchObject(miss);
      await expect(createClient({ ...options, timeoutMs: 1000 }).infer('x', {})).rejects.toMatchObject(miss);
      await expect(createClient(options).infer('x', {})).rejects.toMatchObject(miss);
    });

    it('fails with no_match also on a machine that is busy until after the deadline', async () => {
      const server = await startApiServer({ warmingMs: 60_000 });
      const client = createClient({ server: server.url, capability: { type: 'x' }, timeoutMs: 1000 });
      const outcome = client.infer('x', {}).catch((error: unknown) => error);
      await new Promise((resolve) => setTimeout(resolve, 100));
      const busyUntilMs = performance.now() + 1200;
      while (performance.now() < busyUntilMs);
      expect(await outcome).toMatchObject({ code: 'no_match' });
    });
  });

  it.each<[string, () => Promise<string>]>([
    ['is unreachable', async () => '127.0.0.1:1'],
    ['does not respond', startSilentServer],
    ['has an invalid endpoint', async () => 'nonsense'],
    ['fails with an internal error', async () => (await startFailingServer(status.INTERNAL)).endpoint],
    ['is full', async () => (await startFailingServer(status.RESOURCE_EXHAUSTED)).endpoint],
    ['does not have the model', async () => (await startFailingServer(status.NOT_FOUND)).endpoint],
    ['does not implement the call', async () => (await startFailingServer(status.UNIMPLEMENTED)).endpoint],
  ])('retries on another replica when one %s', async (_what, start) => {
    const server = await startApiServer();
    const [bad, good] = await Promise.all([start(), startWorker('good')]);
    await registerEndpoint(server, 'bad', bad);
    const attempts: FailedAttempt[] = [];
    const client = createClient({
      server: server.url,
      capability: { type: 'x' },
      onRetry: (attempt) => attempts.push(attempt),
    });
    await registerEndpoint(server, 'good', good);
    expect(readName(await client.infer('x', {}))).toBe('good');
    expect(client.replicaId).toBe('good');
    expect(attempts.map(({ attempt, replicaId }) => [attempt, replicaId])).toEqual([[1, 'bad']]);
  });

  it.each(['INVALID_ARGUMENT', 'UNAUTHENTICATED', 'PERMISSION_DENIED', 'OUT_OF_RANGE'] as const)(
    'does not retry %s at another replica',
    async (name) => {
      const server = await startApiServer();
      const { endpoint, calls } = await startFailingServer(status[name]);
      await registerEndpoint(server, 'r1', endpoint);
      await registerEndpoint(server, 'r2', endpoint);
      const client = createClient({ server: server.url, capability: { type: 'x' } });
      await expect(client.infer('x', {})).rejects.toMatchObject({
        code: name.toLowerCase(),
        message: `${endpoint}: as requested`,
      });
      expect(calls.count).toBe(1);
    },
  );

  it('retries an internal error only on other replicas, and an unavailable replica on the same one too', async () => {
    const server = await startApiServer();
    const inside = await startFailingServer(status.INTERNAL);
    await registerEndpoint(server, 'r1', inside.endpoint);
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    await expect(client.infer('x', {})).rejects.toMatchObject({
      code: 'internal',
      message: `${inside.endpoint}: as requested; no other replica offers {"type":"x"}`,
    });
    expect(inside.calls.count).toBe(1);
    const passing = await startFailingServer(status.UNAVAILABLE);
    await registerEndpoint(server, 'r1', passing.endpoint);
    const other = createClient({ server: server.url, capability: { type: 'x' } });
    await expect(other.infer('x', {})).rejects.toMatchObject({ code: 'unavailable' });
    expect(passing.calls.count).toBe(3);
  });

  it('rejects a call without a model name or inputs, and names what is missing', async () => {
    const client = createClient({ endpoint: '127.0.0.1:1' }) as unknown as {
      infer(...args: unknown[]): Promise<unknown>;
      inferStream(...args: unknown[]): AsyncGenerator;
    };
    const missing = { code: 'usage', message: 'option inputs: undefined is not an object' };
    await expect(client.infer('m')).rejects.toMatchObject(missing);
    expect(() => client.inferStream('m')).toThrow(missing.message);
    await expect(client.infer(7, {})).rejects.toMatchObject({ message: 'option model: 7 is not a string' });
  });

  it('finds no replica if only one with an HTTP URL matches, and says so', async () => {
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', 'https://engine.test/v1');
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    await expect(client.infer('x', {})).rejects.toMatchObject({
      code: 'no_match',
      message: 'no gRPC replica offers {"type":"x"}; one does over HTTP: find a URL with "anyserve route --url"',
    });
  });

  it.each(['ipv4:127.0.0.1:', 'dns:///localhost:', 'dns:127.0.0.1:', '127.1:', '[::ffff:127.0.0.1]:'])(
    'calls a replica at %s',
    async (host) => {
      const port = (await startWorker('r1')).split(':').at(-1);
      expect(readName(await createClient({ endpoint: `${host}${port}` }).infer('x', {}))).toBe('r1');
    },
  );

  it('fails after the first attempt with retryOnFailure: false', async () => {
    const server = await startApiServer();
    const { endpoint, calls } = await startFailingServer(status.UNAVAILABLE);
    await registerEndpoint(server, 'r1', endpoint);
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    await expect(client.infer('x', {}, { retryOnFailure: false })).rejects.toMatchObject({ code: 'unavailable' });
    expect(calls.count).toBe(1);
  });

  it('does not retry after its deadline', async () => {
    const endpoint = await startSilentServer();
    const client = createClient({ endpoint, timeoutMs: 300 });
    await expect(client.infer('x', {})).rejects.toMatchObject({ code: 'deadline_exceeded' });
  });

  it('discovers a replica with a fractional timeout in ms', async () => {
    const server = await startApiServer();
    await registerEndpoint(server, 'r1', await startWorker('r1'));
    const client = createClient({ server: server.url, capability: { type: 'x' }, timeoutMs: 1234.5 });
    expect(readName(await client.infer('x', {}))).toBe('r1');
  });

  it('retries on another replica when a response is malformed', async () => {
    const server = await startApiServer();
    const { endpoint } = await startMethods({
      modelInfer: (_call: unknown, respond: (error: null, message: object) => void) =>
        respond(null, {
          modelName: 'x',
          modelVersion: '',
          id: '',
          parameters: new Map(),
          outputs: [{ name: 'who', datatype: 'BYTES', shape: [3n], parameters: new Map(), contents: undefined }],
          rawOutputContents: [],
        }),
    });
    await registerEndpoint(server, 'bad', endpoint);
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    await expect(client.infer('x', {})).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(`${endpoint}: malformed response: output "who": shape [3] needs 3 elements`),
    });
    await registerEndpoint(server, 'good', await startWorker('good'));
    expect(readName(await client.infer('x', {}))).toBe('good');
  });

  it('keeps its replica after an abort by the caller or an invalid input', async () => {
    const server = await startApiServer();
    const app = new App().capability({ type: 'x' }, ({ wait }) => {
      if (wait) return new Promise<never>(() => {});
      return { who: ['r1'] };
    });
    const worker = await startTestWorker(app, { drainTimeoutMs: 100 });
    cleanups.push(() => worker.stop());
    await registerEndpoint(server, 'r1', worker.replica.endpoint);
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    expect(readName(await client.infer('x', {}))).toBe('r1');
    await server.close();
    await expect(client.infer('x', { wait: [1] }, { signal: AbortSignal.timeout(50) })).rejects.toThrow();
    await expect(client.infer('x', { a: [{}] as never })).rejects.toMatchObject({ code: 'usage' });
    expect(readName(await client.infer('x', {}))).toBe('r1');
  });

  it('does not retry a request or response that exceeds the message size limit', async () => {
    const server = await startApiServer();
    let runs = 0;
    const app = new App().capability({ type: 'x' }, ({ bytes }) => {
      runs++;
      return { bytes: new Uint8Array(Number(bytes?.data[0])) };
    });
    for (const id of ['r1', 'r2']) {
      const worker = await startTestWorker(app);
      cleanups.push(() => worker.stop());
      await registerEndpoint(server, id, worker.replica.endpoint);
    }
    const attempts: FailedAttempt[] = [];
    const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
    const client = createClient({ server: server.url, capability: { type: 'x' }, maxMessageBytes: 4000, onRetry });
    await expect(client.infer('x', { bytes: new Uint8Array(5000) })).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringMatching(/^the request has \d+ bytes, and the limit is 4000; see --max-message-bytes$/),
    });
    expect(runs).toBe(0);
    await expect(client.infer('x', { bytes: Int32Array.of(5000) })).rejects.toMatchObject({
      code: 'too_large',
      message: expect.stringMatching(/: the response has \d+ bytes, and the limit is 4000; see --max-message-bytes$/),
    });
    expect([runs, attempts]).toEqual([1, []]);
  });

  it('includes the caller in the stack of its error', async () => {
    const { endpoint } = await startFailingServer(status.INTERNAL);
    async function callFromHere(): Promise<void> {
      await createClient({ endpoint }).infer('x', {});
    }
    const error = await callFromHere().catch((thrown) => thrown);
    expect(error.stack).toMatch(/^AnyserveError: .*as requested\n(.*\n)*.* callFromHere /);
  });

  it('rejects with the abort reason when it is cancelled while it connects', async () => {
    const client = createClient({ endpoint: await startSilentServer() });
    const cancel = new AbortController();
    const call = client.infer('x', {}, { signal: cancel.signal });
    setTimeout(() => cancel.abort(new Error('enough')), 50);
    await expect(call).rejects.toThrow('enough');
  });

  it('rejects with the abort reason at once when it is cancelled while it loads the model metadata', async () => {
    const client = createClient({ endpoint: await startSilentServer() });
    const cancel = new AbortController();
    const startedAtMs = clock.nowMs();
    const call = client.infer('x', { a: [1] }, { signal: cancel.signal });
    setTimeout(() => cancel.abort(new Error('enough')), 50);
    await expect(call).rejects.toThrow('enough');
    expect(clock.nowMs() - startedAtMs).toBeLessThan(2000);
  });

  it('fails all calls when it is closed, and refuses new ones', async () => {
    const app = new App().capability({ type: 'x' }, () => new Promise<never>(() => {}));
    const worker = await startTestWorker(app, { drainTimeoutMs: 100 });
    cleanups.push(() => worker.stop());
    const client = createClient({ endpoint: worker.replica.endpoint });
    const call = client.infer('x', {});
    const stream = client.inferStream('x', {}).next();
    await client.serverLive();
    await client.close();
    for (const ended of [call, stream, client.infer('x', {})]) {
      await expect(ended).rejects.toMatchObject({ code: 'cancelled', message: 'the client is closed' });
    }
  });

  it('keeps its deadline while it loads the model metadata', async () => {
    const { endpoint } = await startMethods({ modelMetadata: () => {}, modelInfer: () => {} });
    const startedAtMs = clock.nowMs();
    const call = createClient({ endpoint }).infer('x', { a: [1] }, { timeoutMs: 1500 });
    await expect(call).rejects.toMatchObject({ code: 'deadline_exceeded' });
    expect(clock.nowMs() - startedAtMs).toBeLessThan(2900);
  });

  it('waits for the model metadata until the deadline of each call', async () => {
    const sent: string[] = [];
    const { endpoint } = await startMethods({
      modelMetadata: (_call: unknown, respond: (error: null, message: object) => void) => {
        const inputs = [{ name: 'a', datatype: 'FP64', shape: [-1n] }];
        const declared = { name: 'x', versions: [], platform: '', inputs, outputs: [], properties: new Map() };
        setTimeout(() => respond(null, declared), 400);
      },
      modelInfer: (call: { request: { inputs: { datatype: string }[] } }, respond: (error: object) => void) => {
        sent.push(call.request.inputs[0]?.datatype ?? '');
        respond({ code: status.INTERNAL, details: 'seen' });
      },
    });
    const client = createClient({ endpoint });
    const [hasty, patient] = [200, 5000].map((timeoutMs) => client.infer('x', { a: [1] }, { timeoutMs }));
    await expect(hasty).rejects.toMatchObject({ code: 'deadline_exceeded' });
    await expect(patient).rejects.toThrow('seen');
    expect(sent).toEqual(['FP64']);
  });

  it('leaves no connection open when it is closed while it loads the model metadata', async () => {
    let asked = (): void => {};
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const { endpoint, server } = await startMethods({ modelMetadata: asked });
    const client = createClient({ endpoint });
    const call = client.infer('x', { a: [1] });
    await isAsked;
    await client.close();
    await expect(call).rejects.toThrow('the client is closed');
    const startedAtMs = clock.nowMs();
    await new Promise<void>((resolve, reject) => server.tryShutdown((error) => (error ? reject(error) : resolve())));
    expect(clock.nowMs() - startedAtMs).toBeLessThan(2000);
  });

  it('leaves no connection open when it is closed during a stream', async () => {
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
    // The client first probes the endpoint with a connection that it closes at once. This is the connection of the call.
    const isClosed = new Promise<string>((resolve) =>
      server.on('stream', ({ session }) => session?.on('close', () => resolve('closed'))),
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => server.close());
    const client = createClient({ endpoint: `127.0.0.1:${(server.address() as AddressInfo).port}` });
    const messages = client.inferStream('x', {});
    await messages.next();
    await client.close();
    const late = new Promise<string>((resolve) => setTimeout(() => resolve('open after 10 s'), 10_000));
    expect(await Promise.race([isClosed, late])).toBe('closed');
    await expect(messages.next()).rejects.toThrow('the client is closed');
  });

  it('loads the model metadata again when the first request for it failed', async () => {
    let asked = 0;
    const sent: string[] = [];
    const { endpoint } = await startMethods({
      modelMetadata: (_call: unknown, respond: (error: object | null, message?: object) => void) => {
        asked++;
        if (asked === 1) respond({ code: status.UNAVAILABLE, details: 'not yet' });
        else
          respond(null, {
            name: 'x',
            versions: [],
            platform: '',
            inputs: [{ name: 'a', datatype: 'FP64', shape: [-1n] }],
            outputs: [],
            properties: new Map(),
          });
      },
      modelInfer: (call: { request: { inputs: { datatype: string }[] } }, respond: (error: object) => void) => {
        sent.push(call.request.inputs[0]?.datatype ?? '');
        respond({ code: status.INTERNAL, details: 'seen' });
      },
    });
    const client = createClient({ endpoint });
    for (let n = 0; n < 3; n++) await client.infer('x', { a: [1] }).catch(() => {});
    expect([asked, sent]).toEqual([2, ['INT32', 'FP64', 'FP64']]);
  });

  it('uses the model metadata only as a hint', async () => {
    const { endpoint } = await startFailingServer(status.INTERNAL);
    await expect(createClient({ endpoint }).infer('x', { a: [1] })).rejects.toThrow(`${endpoint}: as requested`);
    await expect(createClient({ endpoint }).infer('x', { a: [1, 'x'] })).rejects.toMatchObject({ code: 'usage' });
  });

  it('retries a stream only before its first message', async () => {
    const server = await startApiServer();
    const { endpoint } = await startFailingServer(status.UNAVAILABLE);
    await registerEndpoint(server, 'bad', endpoint);
    const client = createClient({ server: server.url, capability: { type: 'x' } });
    await registerEndpoint(server, 'good', await startWorker('good'));
    const messages = client.inferStream('x', {});
    expect(readName((await messages.next()).value as never)).toBe('good');
    expect((await messages.next()).done).toBe(true);
    const other = await startApiServer();
    await registerEndpoint(other, 'bad', await startBreakingWorker());
    const broken = createClient({ server: other.url, capability: { type: 'x' } }).inferStream('x', {});
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
    const client = createClient({ endpoint: worker.replica.endpoint });
    const { outputs } = await client.infer('x', { a: [1, 2], b: [7], c: [0.5] });
    expect(outputs['a']).toEqual({ datatype: 'FP64', shape: [2], data: Float64Array.of(1, 2) });
    expect(outputs['b']).toEqual({ datatype: 'UINT8', shape: [1], data: Uint8Array.of(7) });
    expect(outputs['c']).toEqual({ datatype: 'FP16', shape: [1], data: Float32Array.of(0.5) });
    await expect(client.infer('x', { a: [1], b: [256], c: [0] })).rejects.toMatchObject({
      code: 'usage',
      message: 'input "b" (the model declares UINT8[1]): 256 is not a valid UINT8',
    });
  });

  it('sends plain values in the shape that the model declares, and all other values unchanged', async () => {
    const app = new App().capability({ type: 'x' }, { inputs: { a: 'FP32[-1,3]', b: 'BYTES[-1,1]?' } }, (inputs) =>
      Object.fromEntries(Object.entries(inputs).map(([name, tensor]) => [name, Int32Array.from(tensor?.shape ?? [])])),
    );
    const worker = await startTestWorker(app);
    cleanups.push(() => worker.stop());
    const client = createClient({ endpoint: worker.replica.endpoint });
    const { outputs } = await client.infer('x', { a: [1, 2, 3], b: 'text' });
    expect([outputs['a']?.data, outputs['b']?.data]).toEqual([Int32Array.of(1, 3), Int32Array.of(1, 1)]);
    await expect(client.infer('x', { a: [1, 2, 3, 4] })).rejects.toMatchObject({
      code: 'usage',
      message: 'input "a": the model declares FP32[-1,3], got a list of 4',
    });
    await expect(client.infer('x', { a: [1, 2, 3], c: 1 })).rejects.toMatchObject({
      code: 'usage',
      message: 'model "x" has no input "c"; its inputs: "a", "b"',
    });
    await expect(client.infer('x', { b: 'text' })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('model "x" needs input "a"'),
    });
    for (const exact of [Float32Array.of(1, 2, 3), { datatype: 'FP32', shape: [3], data: [1, 2, 3] } as never]) {
      await expect(client.infer('x', { a: exact, b: 'text' })).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining('the model declares FP32[-1,3], got FP32[3]'),
      });
    }
  });

  it('loads the model metadata once per connection, and never when all inputs are typed', async () => {
    const methods: string[] = [];
    const { endpoint } = await startMethods({
      modelMetadata: (_call: unknown, respond: (error: null, message: object) => void) => {
        methods.push('metadata');
        const inputs = [{ name: 'a', datatype: 'FP64', shape: [-1n] }];
        respond(null, { name: 'x', versions: [], platform: '', inputs, outputs: [], properties: new Map() });
      },
      modelInfer: (_call: unknown, respond: (error: object) => void) => {
        methods.push('infer');
        respond({ code: status.INTERNAL, details: 'seen' });
      },
    });
    const client = createClient({ endpoint });
    for (const a of [Float64Array.of(1), [1], [2]]) await client.infer('x', { a }).catch(() => {});
    expect(methods).toEqual(['infer', 'metadata', 'infer', 'infer']);
  });

  it('with fallBackToUnary, makes a unary call to a replica that cannot stream', async () => {
    const server = await startApiServer();
    const calls: string[] = [];
    const { endpoint } = await startMethods({
      modelInfer: (_call: unknown, respond: (error: null, message: object) => void) => {
        calls.push('modelInfer');
        const outputs = [{ name: 'who', datatype: 'BYTES', shape: [1n], parameters: new Map(), contents: undefined }];
        const rawOutputContents = [Buffer.from('\x05\0\0\0unary')];
        respond(null, { modelName: 'x', modelVersion: '', id: '', parameters: new Map(), outputs, rawOutputContents });
      },
    });
    await registerEndpoint(server, 'unary', endpoint);
    const attempts: FailedAttempt[] = [];
    const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
    const client = createClient({ server: server.url, capability: { type: 'x' }, onRetry });
    const messages: string[] = [];
    for await (const message of client.inferStream('x', {}, { fallBackToUnary: true }))
      messages.push(readName(message));
    expect([messages, calls, attempts, client.replicaId]).toEqual([['unary'], ['modelInfer'], [], 'unary']);
    await expect(client.inferStream('x', {}).next()).rejects.toMatchObject({ code: 'unimplemented' });
    expect(calls).toHaveLength(1);
  });

  it.each([false, true])(
    'retries a stream on another replica when one responds with unimplemented; fallBackToUnary: %s',
    async (fallBackToUnary) => {
      const server = await startApiServer();
      const unable = await startTestWorker(
        new App().capability({ type: 'x' }, () => {
          throw new AnyserveError('unimplemented', 'parameter "top_k" is not known');
        }),
      );
      cleanups.push(() => unable.stop());
      await registerEndpoint(server, 'unable', unable.replica.endpoint);
      const attempts: FailedAttempt[] = [];
      const onRetry = (attempt: FailedAttempt): void => void attempts.push(attempt);
      const client = createClient({ server: server.url, capability: { type: 'x' }, onRetry });
      await registerEndpoint(server, 'able', await startWorker('able'));
      const messages: string[] = [];
      for await (const message of client.inferStream('x', {}, { fallBackToUnary })) messages.push(readName(message));
      expect(messages).toEqual(['able']);
      expect(attempts.map(({ replicaId, error }) => [replicaId, error.code])).toEqual([['unable', 'unimplemented']]);
    },
  );

  it('does not fall back to a unary call when the stream fails after its first message', async () => {
    let runs = 0;
    const app = new App().capability({ type: 'x' }, async function* () {
      runs++;
      yield { who: ['half'] };
      throw new AnyserveError('unimplemented', 'the other half');
    });
    const worker = await startTestWorker(app);
    cleanups.push(() => worker.stop());
    const messages = createClient({ endpoint: worker.replica.endpoint }).inferStream(
      'x',
      {},
      { fallBackToUnary: true },
    );
    expect((await messages.next()).done).toBe(false);
    await expect(messages.next()).rejects.toMatchObject({ code: 'unimplemented' });
    expect(runs).toBe(1);
  });

  it('makes 200 concurrent calls', async () => {
    const worker = await startTestWorker(
      new App().capability({ type: 'x' }, (inputs) => inputs),
      { maxQueue: 1000 },
    );
    cleanups.push(() => worker.stop());
    const client = createClient({ endpoint: worker.replica.endpoint });
    const responses = await Promise.all(Array.from({ length: 200 }, (_, n) => client.infer('x', { n: [n] })));
    expect(responses.map(({ outputs }) => Number(outputs['n']?.data[0]))).toEqual(
      Array.from({ length: 200 }, (_, n) => n),
    );
  });
});
