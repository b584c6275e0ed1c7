import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startProgram } from '../support/binary.js';
import { closeAfterEach } from '../support/close-after-each.js';
import { startTestGateway } from '../support/gateway.js';
import { BASE_URL, startTestFetch } from '../support/model-fetch.js';
import { startOpenaiEngine } from '../support/openai-engine.js';
import { writeTinyModel } from '../support/tiny-model.js';
import { startLlamaServer, stopLlamaServers } from './llama-server.js';
import { getInteropPath, PYTHON } from './python.js';

const keep = closeAfterEach();

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const list: unknown[] = [];
  for await (const item of items) list.push(item);
  return list;
}

it("OpenAI's Python client, in the example, prints the models and the response of a replica", async () => {
  const { gateway, register, waitForModels } = keep(await startTestGateway());
  const engine = keep(await startOpenaiEngine());
  await register('a', engine.url);
  await waitForModels('m');
  const program = getInteropPath('../../examples/openai/gateway.py');
  const { code, stdout, stderr } = await startProgram([PYTHON, program, 'm', `${gateway.url}/v1`], {
    env: { PYTHONIOENCODING: 'utf-8' },
  }).ended;
  expect([code, stderr, stdout]).toEqual([0, '', 'models: m\nI have read: Why is the sky blue? ☃.\n']);
});

describe("OpenAI's client through createFetch gets the same from llama.cpp as directly:", () => {
  let fleet: Awaited<ReturnType<typeof startTestFetch>>;
  const urls: Record<string, string> = {};

  beforeAll(async () => {
    const file = join(mkdtempSync(join(tmpdir(), 'anyserve-llama-')), 'tiny.gguf');
    const rows = [['x', '▁one', '▁two', '▁three', '</s>']];
    const chatTemplate = '{% for message in messages %}{{ message.content }}{% endfor %}';
    writeTinyModel(file, { rows, chatTemplate, contextLength: 2048 });
    urls['tiny'] = (await startLlamaServer(file)).url;
    urls['embed'] = (await startLlamaServer(file, 'embeddings')).url;
    const keys = Object.values(urls).map((url) => [new URL(url).origin, 'the-key'] as const);
    fleet = await startTestFetch({ keys: Object.fromEntries(keys) });
    for (const [model, url] of Object.entries(urls)) await fleet.register(model, url, { model });
  });

  afterAll(async () => {
    await fleet?.close();
    stopLlamaServers();
  });

  /** Removes what differs from call to call. */
  function withoutTimes(value: unknown): unknown {
    const text = JSON.stringify(value, (key, member) => (VARYING.has(key) ? undefined : member));
    return JSON.parse(text.replaceAll(/(?:resp|msg|rs|chatcmpl)[-_]\w+/g, 'ID'));
  }

  /** Makes a call of a model in both ways, and compares the results, which can be errors. */
  async function callBothWays(model: string, call: (client: OpenAI) => Promise<unknown>): Promise<unknown> {
    const direct = new OpenAI({ baseURL: urls[model] as string, apiKey: 'the-key' });
    const openai = new OpenAI({ baseURL: BASE_URL, apiKey: '-', fetch: fleet.fetch });
    const describeError = (error: InstanceType<typeof OpenAI.APIError>) => ({
      type: error.constructor.name,
      status: error.status,
      error: error.error,
    });
    const expected = withoutTimes(await call(direct).catch(describeError));
    expect(withoutTimes(await call(openai).catch(describeError))).toEqual(expected);
    return expected;
  }

  const chat = { model: 'tiny', messages: [{ role: 'user' as const, content: 'x' }] };

  it('a chat and a completion', async () => {
    const result = await callBothWays('tiny', (client) => client.chat.completions.create(chat));
    expect(result).toMatchObject({
      choices: [{ message: { content: ' one two three' } }],
      usage: { completion_tokens: 4 },
    });
    await callBothWays('tiny', (client) => client.completions.create({ model: 'tiny', prompt: 'x', max_tokens: 2 }));
  });

  it('streams', async () => {
    const result = await callBothWays('tiny', async (client) =>
      collect(await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })),
    );
    expect((result as object[]).length).toBeGreaterThan(4);
    await callBothWays('tiny', async (client) =>
      collect(await client.responses.create({ model: 'tiny', input: 'x', stream: true })),
    );
  });

  it.each(['float', 'base64'] as const)('embeddings as %s', async (encoding_format) => {
    const result = await callBothWays('embed', (client) =>
      client.embeddings.create({ model: 'embed', input: ['x', 'one'], encoding_format }),
    );
    expect(result).toMatchObject({ data: [{ index: 0 }, { index: 1 }] });
  });

  it('an error, with its class', async () => {
    const content = 'x'.repeat(5000);
    const result = await callBothWays('tiny', (client) =>
      client.chat.completions.create({ model: 'tiny', messages: [{ role: 'user', content }] }),
    );
    expect(result).toMatchObject({ type: 'BadRequestError', status: 400 });
  });
});

/** Members of responses that are different in each. A repeated prompt is in the cache. */
const VARYING: ReadonlySet<string> = new Set([
  'id',
  'created',
  'created_at',
  'completed_at',
  'timings',
  'cached_tokens',
  '_request_id',
]);
