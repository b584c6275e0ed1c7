import { afterEach, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { clock, random } from '../../src/system.js';
import { App } from '../../src/worker/app.js';
import type { Backend } from '../../src/worker/backend.js';
import { createOpenaiBackend } from '../../src/worker/openai-backend.js';
import { startTestApiServer, type TestApiServer } from '../support/api-server.js';
import { type OpenaiUpstream, startOpenaiUpstream } from '../support/openai-upstream.js';
import { createRecordingLog } from '../support/replicas.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function startRegisteredWorker(backend: Backend) {
  const api: TestApiServer = await startTestApiServer();
  const worker = await startTestWorker(backend, { servers: [api.url], id: 'w1' });
  const client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
  cleanups.push(
    () => api.close(),
    () => worker.stop(),
    () => client.close(),
  );
  const listOffered = (): (string | undefined)[] =>
    api.registry.replicas().flatMap(({ capabilities }) => capabilities.map(({ source }) => source));
  await until('it is listed', () => listOffered().length > 0);
  return { api, worker, client, listOffered };
}

async function startEngineWorker(models: readonly (string | object)[], named: readonly string[] = []) {
  const upstream: OpenaiUpstream = await startOpenaiUpstream({ models });
  cleanups.push(() => upstream.close());
  const options = {
    url: upstream.url,
    key: undefined,
    timeoutMs: 5000,
    idleTimeoutMs: 5000,
    embeddingModels: [],
    capabilities: [],
  };
  const backend = await createOpenaiBackend(
    { ...options, models: named, log: createRecordingLog(), clock },
    new AbortController().signal,
  );
  return { upstream, ...(await startRegisteredWorker(backend)) };
}

const formatChatModels = (...names: string[]): string[] => names.map((name) => `{"type":"chat","model":"${name}"}`);

it('a worker follows the models that its engine lists, under one lease: it removes an unloaded one and adds a loaded one', async () => {
  const { upstream, api, client, listOffered } = await startEngineWorker(['base', 'lora-1']);
  const findLease = () => [...api.registry.known()][0]?.registration.lease;
  const before = findLease();
  upstream.offer(['base']);
  await until('lora-1 is gone', () => listOffered().length === 1);
  expect(listOffered()).toEqual(formatChatModels('base'));
  expect([await client.modelReady('base'), await client.modelReady('lora-1')]).toEqual([true, false]);
  await expect(client.infer('lora-1', { prompt: ['x'] })).rejects.toMatchObject({ code: 'not_found' });
  upstream.offer(['base', 'lora-2']);
  await until('lora-2 is listOffered', () => listOffered().length === 2);
  expect(listOffered()).toEqual(formatChatModels('base', 'lora-2'));
  expect(await client.modelReady('lora-2')).toBe(true);
  expect(findLease()).toBe(before);
  expect(api.log.lines.filter((line) => /removed|unready/.test(line))).toEqual([]);
});

it('a worker registers what its engine says about each model, and again when that changes', async () => {
  const qwen = { id: 'qwen', type: 'vlm', max_model_len: 4096, supported_parameters: ['tools'] };
  const { upstream, listOffered } = await startEngineWorker([
    qwen,
    { id: 'e5', type: 'embedding', max_model_len: 512 },
  ]);
  const chat = { type: 'chat', model: 'qwen', ctx: 4096, tools: true, vision: true };
  const embed = { type: 'embed', model: 'e5', ctx: 512 };
  expect(listOffered().map((source) => JSON.parse(source ?? ''))).toEqual([chat, embed]);
  upstream.offer([{ ...qwen, max_model_len: 8192 }]);
  await until('the change is listed', () => listOffered().length === 1);
  expect(JSON.parse(listOffered()[0] ?? '')).toEqual({ ...chat, ctx: 8192 });
  upstream.offer([{ ...qwen, max_model_len: 1024 }]);
  await until('the change of ctx alone is listed', () => listOffered()[0]?.includes('1024') === true);
});

it('a worker with named models offers only those that its engine lists', async () => {
  const { upstream, api, listOffered } = await startEngineWorker(['a', 'b'], ['a', 'b']);
  upstream.offer(['b', 'c']);
  await until('a is gone', () => listOffered().length === 1);
  expect(listOffered()).toEqual(formatChatModels('b'));
  upstream.offer(['c']);
  await until('it offers nothing', () => [...api.registry.known()][0]?.registration.state === 'unready');
  upstream.offer(['c', 'a']);
  await until('a is back', () => listOffered().length === 1);
  expect(listOffered()).toEqual(formatChatModels('a'));
});

it('a module offers the models that it declares while it runs', async () => {
  const app = new App().capability({ type: 'add' }, () => ({ sum: [1] }));
  const { client, listOffered } = await startRegisteredWorker(app);
  app.capability({ type: 'multiply' }, () => ({ product: [2] }));
  await until('both are listOffered', () => listOffered().length === 2);
  expect((await client.infer('multiply', {})).outputs['product']?.data).toEqual(Int32Array.of(2));
  app.remove('add');
  await until('one is listOffered', () => listOffered().length === 1);
  expect(listOffered()).toEqual(['{"type":"multiply"}']);
});

it('a worker rereads the models of a backend without change events on request', async () => {
  const [first, second] = [{ type: 'add' }, { type: 'multiply' }].map(
    (capability) => new App().capability(capability, () => ({})).models[0],
  );
  const models = [first].flatMap((model) => model ?? []);
  const { worker, listOffered } = await startRegisteredWorker({ models });
  models.push(...[second].flatMap((model) => model ?? []));
  await worker.update();
  expect(listOffered()).toEqual(['{"type":"add"}', '{"type":"multiply"}']);
});
