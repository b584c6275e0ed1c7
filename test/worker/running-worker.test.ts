import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { credentials, loadPackageDefinition, status } from '@grpc/grpc-js';
import { load } from '@grpc/proto-loader';
import { afterEach, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { InferenceChannel } from '../../src/client/inference-channel.js';
import { HandlerResponse, type InferenceResponse, type Tensor } from '../../src/inference/inference-data.js';
import { toRequestMessage } from '../../src/inference/request-response.js';
import { INFERENCE_SERVICE } from '../../src/inference/service-definition.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import type { WorkerOptions } from '../../src/worker/running-worker.js';
import { startTestApiServer } from '../support/api-server.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startWorker(app: App, options: Partial<WorkerOptions> = {}) {
  const worker = await startTestWorker(app, options);
  cleanups.push(() => worker.stop());
  const client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
  cleanups.push(() => client.close());
  return { worker, client };
}

/** Creates a promise that the test resolves with `open`. */
function createGate(): { readonly passed: Promise<void>; open(): void } {
  let open = (): void => {};
  const passed = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { passed, open };
}

const arithmetic = new App()
  .capability(
    { type: 'multiply' },
    { inputs: { a: 'INT32', b: 'INT32' }, outputs: { product: 'INT32' } },
    ({ a, b }) => ({
      product: Int32Array.from(a?.data as Int32Array, (value, at) => value * Number(b?.data[at])),
    }),
  )
  .capability({ type: 'count' }, async function* ({ n }) {
    for (let at = 0; at < Number(n?.data[0]); at++) yield { i: [at] };
  });

describe('a worker', () => {
  it('returns the outputs of a handler', async () => {
    const { client } = await startWorker(arithmetic);
    const { outputs } = await client.infer('multiply', { a: [2, 3], b: [10, 20] });
    expect(outputs['product']).toEqual({ datatype: 'INT32', shape: [2], data: Int32Array.of(20, 60) });
  });

  it('passes on parameters that a handler returns, combined for a unary call', async () => {
    const app = new App().capability({ type: 'say' }, async function* (_inputs, { streaming }) {
      yield { text: [streaming ? 'in parts' : 'as a whole'] };
      yield new HandlerResponse({ text: [''] }, { finish_reason: 'stop', completion_tokens: 2 });
    });
    const { client } = await startWorker(app);
    const whole = await client.infer('say', {});
    expect(tensorToTexts(whole.outputs['text'] as Tensor)).toEqual(['as a whole', '']);
    expect({ ...whole.parameters }).toEqual({ finish_reason: 'stop', completion_tokens: 2 });
    const messages: InferenceResponse[] = [];
    for await (const message of client.inferStream('say', {})) messages.push(message);
    expect(messages.map(({ outputs }) => tensorToTexts(outputs['text'] as Tensor))).toEqual([['in parts'], ['']]);
    expect(messages.map(({ parameters }) => ({ ...parameters }))).toEqual([
      {},
      { finish_reason: 'stop', completion_tokens: 2 },
    ]);
  });

  it('streams the messages of a generator, and joins them for a unary call', async () => {
    const { client } = await startWorker(arithmetic);
    const messages: unknown[] = [];
    for await (const { outputs } of client.inferStream('count', { n: [3] })) messages.push(outputs['i']?.data);
    expect(messages).toEqual([Int32Array.of(0), Int32Array.of(1), Int32Array.of(2)]);
    const { outputs } = await client.infer('count', { n: [3] });
    expect(outputs['i']).toEqual({ datatype: 'INT32', shape: [3], data: Int32Array.of(0, 1, 2) });
  });

  it('repeats the id, the names, even unusual ones, and the encoding', async () => {
    const { client } = await startWorker(new App().capability({ type: 'echo' }, (inputs) => inputs));
    for (const raw of [false, true]) {
      const { id, model, outputs } = await client.infer('echo', { a: [1], ['__proto__']: [2] }, { id: 'q7', raw });
      expect([id, model, Object.keys(outputs)]).toEqual(['q7', 'echo', ['a', '__proto__']]);
    }
    const forms: boolean[] = [];
    const asked = (raw: boolean) =>
      toRequestMessage({
        model: 'echo',
        version: '',
        id: '',
        parameters: {},
        outputs: [],
        raw,
        inputs: { a: { datatype: 'INT32', shape: [1], data: Int32Array.of(1) } },
      });
    const channel = new InferenceChannel(client.endpoint as string, { maxMessageBytes: 1e6, clock });
    cleanups.push(() => channel.close());
    for (const raw of [false, true]) {
      const response = await channel.call(INFERENCE_SERVICE.modelInfer, asked(raw), {
        deadlineEpochMs: clock.epochMs() + 5000,
      });
      forms.push(response.rawOutputContents.length > 0, response.outputs[0]?.contents !== undefined);
    }
    expect(forms).toEqual([false, true, true, false]);
  });

  it('passes the details of the call to a handler', async () => {
    const seen: unknown[] = [];
    const app = new App().capability({ type: 'x' }, (_inputs, { model, id, parameters, outputs }) => {
      seen.push({ model, id, parameters: { ...parameters }, outputs });
      return { a: [1], b: [2] };
    });
    const { client } = await startWorker(app);
    const { outputs } = await client.infer('x', {}, { id: '1', parameters: { t: 0.5, stop: 'a' }, outputs: ['b'] });
    expect(seen).toEqual([{ model: 'x', id: '1', parameters: { t: 0.5, stop: 'a' }, outputs: ['b'] }]);
    expect(Object.keys(outputs)).toEqual(['b']);
  });

  it.each<[string, Record<string, never[] | number[] | Int32Array>, object, string, string]>([
    ['a missing input', { a: [1] }, {}, 'invalid_argument', 'model "multiply" needs input "b"'],
    [
      'an undeclared input',
      { a: Int32Array.of(1), b: Int32Array.of(1), c: Int32Array.of(1) },
      {},
      'invalid_argument',
      'model "multiply" has no input "c"; its inputs: "a", "b"',
    ],
    ['an unknown output', { a: [1], b: [1] }, { outputs: ['x'] }, 'invalid_argument', 'returned no output "x"'],
  ])('rejects %s', async (_what, inputs, options, code, words) => {
    const { client } = await startWorker(arithmetic);
    await expect(client.infer('multiply', inputs, options)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(words),
    });
  });

  it('rejects a tensor that differs from its declaration, and reports both', async () => {
    const { client } = await startWorker(arithmetic);
    await expect(client.infer('multiply', { a: Float32Array.of(1), b: [1] })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining('input "a": the model declares INT32[-1], got FP32[1]'),
    });
  });

  it.each<[string, () => never | object, string]>([
    [
      'throws',
      () => {
        throw new TypeError('no such\n  weight');
      },
      'model "bad" failed: no such weight',
    ],
    [
      'throws a value that is not an Error',
      () => {
        throw 'text';
      },
      'model "bad" failed: text',
    ],
    [
      'returns nothing',
      () => undefined as never,
      'model "bad" failed: its handler must return an object of outputs by name',
    ],
    ['returns a wrong output', () => ({ y: ['text'] }), 'model "bad" failed: output "y": "text" is not a valid FP32'],
  ])('names the model and the cause when a handler %s', async (_what, handler, message) => {
    const { client, worker } = await startWorker(
      new App().capability({ type: 'bad' }, { outputs: { y: 'FP32' } }, handler as never),
    );
    await expect(client.infer('bad', {})).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(message),
    });
    expect(worker.log.lines.at(-1)).toContain(message);
    const messages = client.inferStream('bad', {});
    await expect(messages.next()).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(message),
    });
  });

  it('limits log lines about bad requests, but still logs its own failure', async () => {
    const app = new App().capability({ type: 'bad' }, () => {
      throw new TypeError('no such weight');
    });
    const { client, worker } = await startWorker(app);
    const calls = Array.from({ length: 100 }, () => client.infer('none', {}, { retryOnFailure: false }));
    await Promise.allSettled(calls);
    expect(worker.log.lines).toHaveLength(10);
    await expect(client.infer('bad', {})).rejects.toThrow('no such weight');
    expect(worker.log.lines.at(-1)).toContain('no such weight');
    await until('the others are counted', () => worker.log.lines.at(-1)?.includes('and 89 more like this') === true);
  });

  it.each<[string, unknown, string]>([
    ['a list', [1, 2], 'must return an object of outputs by name'],
    ['a typed array', Float32Array.of(1), 'must return an object of outputs by name'],
    ['a map', new Map([['y', [1]]]), 'must return an object of outputs by name'],
    ['none of its declared outputs', {}, 'returned no output "y", which it declares'],
  ])('rejects %s as a handler result', async (_what, given, words) => {
    const app = new App().capability({ type: 'x' }, { outputs: { y: 'FP32' } }, () => given as never);
    const { client } = await startWorker(app);
    await expect(client.infer('x', {})).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(words),
    });
  });

  it('accepts a synchronous generator', async () => {
    const app = new App().capability({ type: 'x' }, function* () {
      yield { i: [1] };
      yield { i: [2] };
    });
    const { client } = await startWorker(app);
    expect((await client.infer('x', {})).outputs['i']?.data).toEqual(Int32Array.of(1, 2));
  });

  it('returns the requested outputs, whichever message contains them', async () => {
    const app = new App().capability({ type: 'x' }, async function* () {
      yield { text: ['a'] };
      yield { text: ['b'] };
      yield { usage: [2] };
    });
    const { client } = await startWorker(app);
    const { outputs } = await client.infer('x', {}, { outputs: ['text'] });
    expect(Object.keys(outputs)).toEqual(['text']);
    expect(outputs['text']?.shape).toEqual([2]);
    await expect(client.infer('x', {}, { outputs: ['nope'] })).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  it.each([
    ['surrogate pairs', `x${'😀'.repeat(3000)}`],
    ['lone surrogates', 'bad \ud83d here'],
    ['characters that take nine bytes in a header', '中'.repeat(5000)],
  ])('survives error messages of %s', async (_what, text) => {
    const app = new App().capability({ type: 'bad' }, () => {
      throw new Error(text);
    });
    const { client } = await startWorker(app);
    await expect(client.infer('bad', {})).rejects.toMatchObject({ code: 'internal' });
    await expect(client.infer(text, {})).rejects.toMatchObject({ code: 'not_found' });
    expect(await client.serverLive()).toBe(true);
  });

  it('frees the slot of a cancelled stream', async () => {
    const app = new App().capability({ type: 'endless' }, async function* () {
      for (let i = 0; ; i++) {
        yield { i: [i] };
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    });
    const { client } = await startWorker(app, { maxConcurrency: 1, maxQueue: 0 });
    await expect(client.infer('endless', {}, { timeoutMs: 100 })).rejects.toMatchObject({ code: 'deadline_exceeded' });
    await until('the slot is free for a stream', async () => {
      const messages = client.inferStream('endless', {}, { timeoutMs: 5000 });
      const first = await messages.next().catch(() => undefined);
      await messages.return(undefined);
      return first !== undefined;
    });
    await until('the slot is free again', async () => {
      const { code } = await client.infer('endless', {}, { timeoutMs: 50 }).catch((error) => error);
      return code === 'deadline_exceeded';
    });
  });

  it('stops while a client still watches its health', async () => {
    const { worker } = await startWorker(arithmetic);
    const { protoPath } = await import('grpc-health-check');
    const loaded = loadPackageDefinition(await load(protoPath)) as never as {
      grpc: {
        health: { v1: { Health: new (...args: unknown[]) => { watch(request: object): Watch; close(): void } } };
      };
    };
    interface Watch {
      on(event: string, listener: (status: object) => void): Watch;
    }
    const health = new loaded.grpc.health.v1.Health(worker.replica.endpoint, credentials.createInsecure());
    cleanups.push(() => health.close());
    const seen: object[] = [];
    health
      .watch({ service: '' })
      .on('data', (status) => seen.push(status))
      .on('error', () => {});
    await until('it is reported', () => seen.length === 1);
    await worker.stop();
    expect(seen).toEqual([{ status: 1 }, { status: 2 }]);
    expect(worker.log.lines).toEqual([]);
  });

  it('keeps the messages sent before a handler failed', async () => {
    const app = new App().capability({ type: 'x' }, async function* () {
      yield { i: [1] };
      throw new Error('midway');
    });
    const { client } = await startWorker(app);
    const messages: unknown[] = [];
    const read = async () => {
      for await (const { outputs } of client.inferStream('x', {})) messages.push(outputs['i']?.data);
    };
    await expect(read()).rejects.toMatchObject({ code: 'internal', message: expect.stringContaining('midway') });
    expect(messages).toEqual([Int32Array.of(1)]);
  });

  it('signals a handler when its caller disconnects and when the deadline passes', async () => {
    const aborted: string[] = [];
    const begun = createGate();
    const app = new App().capability({ type: 'slow' }, async (_inputs, { id, signal }) => {
      begun.open();
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      aborted.push(id);
      return {};
    });
    const { client } = await startWorker(app);
    const cancel = new AbortController();
    const cancelled = client.infer('slow', {}, { id: 'cancelled', signal: cancel.signal });
    await begun.passed;
    cancel.abort(new Error('enough'));
    await expect(cancelled).rejects.toThrow('enough');
    await expect(client.infer('slow', {}, { id: 'late', timeoutMs: 1500 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    await until('both were notified', () => aborted.length === 2);
    expect(aborted).toEqual(['cancelled', 'late']);
  });

  it('serves many concurrent streams without a warning', async () => {
    const warnings: Error[] = [];
    const keep = (warning: Error): void => void warnings.push(warning);
    process.on('warning', keep);
    cleanups.push(() => process.removeListener('warning', keep));
    const { passed, open } = createGate();
    const app = new App().capability({ type: 'x' }, async function* () {
      yield { i: [1] };
      await passed;
    });
    const { client } = await startWorker(app);
    const streams = Array.from({ length: 30 }, () => client.inferStream('x', {}));
    await Promise.all(streams.map((stream) => stream.next()));
    open();
    for (const stream of streams) expect((await stream.next()).done).toBe(true);
    expect(warnings.map(({ name }) => name)).not.toContain('MaxListenersExceededWarning');
  });

  it('stops a handler whose reader leaves the loop', async () => {
    let stopped = false;
    const app = new App().capability({ type: 'x' }, async function* () {
      try {
        for (let i = 0; ; i++) {
          yield { i: [i] };
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      } finally {
        stopped = true;
      }
    });
    const { client } = await startWorker(app);
    for await (const { outputs } of client.inferStream('x', {})) if (Number(outputs['i']?.data[0]) === 3) break;
    await until('the handler was stopped', () => stopped);
  });

  it('rejects calls at once when its queue is full', async () => {
    const { passed, open } = createGate();
    const app = new App().capability({ type: 'x' }, async () => {
      await passed;
      return {};
    });
    const { client } = await startWorker(app, { maxConcurrency: 1, maxQueue: 1 });
    const calls = [1, 2, 3].map(() =>
      client.infer('x', {}).then(
        () => 'responded',
        (error) => error.code,
      ),
    );
    const first = await Promise.race(calls);
    open();
    expect(first).toBe('resource_exhausted');
    expect((await Promise.all(calls)).sort()).toEqual(['resource_exhausted', 'responded', 'responded']);
  });

  it('returns its metadata', async () => {
    const { client } = await startWorker(arithmetic);
    expect(await client.serverMetadata()).toMatchObject({ name: 'anyserve', version: '0.0.0' });
    expect(await client.modelMetadata('multiply')).toMatchObject({
      name: 'multiply',
      inputs: [
        { name: 'a', datatype: 'INT32', shape: [-1n] },
        { name: 'b', datatype: 'INT32', shape: [-1n] },
      ],
      outputs: [{ name: 'product', datatype: 'INT32', shape: [-1n] }],
    });
    expect(await client.modelReady('multiply')).toBe(true);
    expect(await client.modelReady('nope')).toBe(false);
    expect(await client.serverLive()).toBe(true);
    await expect(client.modelMetadata('nope')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('responds to health checks of standard gRPC tools', async () => {
    const { worker } = await startWorker(arithmetic);
    const SERVING = 1;
    const { protoPath } = await import('grpc-health-check');
    const loaded = loadPackageDefinition(await load(protoPath)) as never as {
      grpc: {
        health: {
          v1: {
            Health: new (
              ...args: unknown[]
            ) => {
              check(request: object, done: (error: { code: number } | null, response: object) => void): void;
              close(): void;
            };
          };
        };
      };
    };
    const health = new loaded.grpc.health.v1.Health(worker.replica.endpoint, credentials.createInsecure());
    cleanups.push(() => health.close());
    const check = (service: string) =>
      new Promise((resolve) => health.check({ service }, (error, response) => resolve(error?.code ?? response)));
    expect(await check('')).toEqual({ status: SERVING });
    expect(await check('inference.GRPCInferenceService')).toEqual({ status: SERVING });
    expect(await check('nope')).toBe(status.NOT_FOUND);
  });

  it('registers its capabilities, and on stop first leaves the list and then finishes the calls in progress', async () => {
    const api = await startTestApiServer();
    cleanups.push(() => api.close());
    const { passed, open } = createGate();
    const reached = createGate();
    const app = new App().capability({ type: 'slow', gpu: 1 }, async () => {
      reached.open();
      await passed;
      return { done: [true] };
    });
    const { client, worker } = await startWorker(app, { servers: [api.url], id: 'w1' });
    await until('it is registered', () => api.registry.replicas().length === 1);
    expect(api.registry.replicas()[0]).toMatchObject({ id: 'w1', endpoint: worker.replica.endpoint });
    const call = client.infer('slow', {});
    await reached.passed;
    const stopped = worker.stop();
    await until('it has left', () => api.registry.replicas().length === 0);
    open();
    expect((await call).outputs['done']?.data).toEqual([true]);
    await stopped;
  });

  it('sends its last responses completely, even to a slow reader', async () => {
    const size = 24 * 1024 * 1024;
    const app = new App().capability({ type: 'large' }, () => ({ x: new Uint8Array(size) }));
    const { worker } = await startWorker(app, { drainTimeoutMs: 18_000 });
    let passed = 0;
    const proxy = createServer((socket) => {
      const upstream = connect(Number(worker.replica.endpoint.split(':')[1]), '127.0.0.1');
      socket.pipe(upstream);
      upstream.on('data', (chunk) => {
        passed += chunk.length;
        socket.write(chunk);
        upstream.pause();
        setTimeout(() => upstream.resume(), 3);
      });
      upstream.on('close', () => socket.end());
      socket.on('close', () => upstream.destroy());
      for (const end of [socket, upstream]) end.on('error', () => {});
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => proxy.close());
    const client = new InferenceClient(
      { endpoint: `127.0.0.1:${(proxy.address() as AddressInfo).port}` },
      { clock, random },
    );
    cleanups.push(() => client.close());
    const response = client.infer('large', {});
    await until('the response has started', () => passed > 100_000);
    const stopped = worker.stop();
    expect((await response).outputs['x']?.data).toHaveLength(size);
    await client.close();
    await stopped;
  });

  it('does not crash its process when its registration is refused', async () => {
    const stranger = createHttpServer((_request, response) => response.end('<html>'));
    await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
    cleanups.push(() => stranger.close());
    let closed = 0;
    const backend = { models: arithmetic.models, close: async () => void closed++ };
    const { port } = stranger.address() as AddressInfo;
    const worker = await startTestWorker(arithmetic, { backends: [backend], servers: [`http://127.0.0.1:${port}`] });
    await until('it has cleaned up', () => closed === 1);
    await expect(worker.stopped).rejects.toMatchObject({ code: 'not_an_api_server' });
  });

  it('aborts calls that exceed the drain timeout', async () => {
    const reached = createGate();
    const app = new App().capability({ type: 'endless' }, () => {
      reached.open();
      return new Promise<never>(() => {});
    });
    const { client, worker } = await startWorker(app, { drainTimeoutMs: 100 });
    const call = client.infer('endless', {}).catch((error) => error);
    await reached.passed;
    await worker.stop();
    expect((await call).code).toMatch(/unavailable|cancelled/);
    expect(worker.log.lines.at(-1)).toContain('calls are still running after 100 ms');
  });

  it('serves one model under the given capabilities', async () => {
    const capability = { pairs: ['type', 'chat'], source: '{"type":"chat"}' };
    const { client, worker } = await startWorker(
      new App().capability({ type: 'echo' }, (inputs) => inputs),
      { capabilities: [capability] },
    );
    expect(worker.replica.capabilities).toEqual([capability]);
    await client.infer('chat', { prompt: ['hi'] });
    await expect(startTestWorker(arithmetic, { capabilities: [capability] })).rejects.toThrow(
      'this one has 2 models, which declare their own',
    );
  });

  it('rejects invalid options before it listens', async () => {
    await expect(startTestWorker(new App())).rejects.toThrow('no model to serve');
    await expect(startTestWorker(arithmetic, { servers: ['http://127.0.0.1:1'], host: '0.0.0.0' })).rejects.toThrow(
      'give a host name or one address',
    );
    const { worker } = await startWorker(arithmetic);
    const port = Number(worker.replica.endpoint.split(':')[1]);
    await expect(startTestWorker(arithmetic, { port })).rejects.toThrow(
      `127.0.0.1:${port} is taken by another process`,
    );
  });
});
