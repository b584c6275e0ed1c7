import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Client, type InferenceResponse, tensorToTexts } from '../../src/index.js';
import { type Outcome, run, start, stopAll } from '../support/binary.js';
import { writeTinyModel } from '../support/tiny-model.js';
import { until } from '../support/until.js';
import { startLlamaServer, stopLlamaServers } from './llama-server.js';

const model = join(mkdtempSync(join(tmpdir(), 'anyserve-llama-')), 'tiny.gguf');
let server: string;

beforeAll(async () => {
  // The model writes "one two three" and ends, or never ends.
  const rows = [
    ['x', '▁one', '▁two', '▁three', '</s>'],
    ['y', '▁on', '▁and', '▁on'],
  ];
  const chatTemplate = '{% for message in messages %}{{ message.content }}{% endfor %}';
  writeTinyModel(model, { rows, chatTemplate, contextLength: 2048 });
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (\S+)/);
});

afterAll(async () => {
  stopLlamaServers();
  await stopAll();
});

/** Starts a llama.cpp server and a registered worker in front of it. */
async function startLlamaWorker(id: string, options: readonly string[], workerOptions: readonly string[]) {
  const { child, url } = await startLlamaServer(model, ...options);
  const args = ['worker', '--openai', url, '--port', '0', '--id', id, '--server', server, ...workerOptions];
  const worker = start(args, { env: { ANYSERVE_OPENAI_KEY: 'the-key' } });
  await worker.waitForOutput(/^registered/m);
  return { child, url, endpoint: await worker.waitForOutput(/^serving on (\S+)/m) };
}

const infer = (...args: string[]): Promise<Outcome> => run(['infer', ...args, '--server', server]);

it('a llama.cpp server responds to unary and streaming chats, and the worker passes on its errors', async () => {
  const { child, endpoint } = await startLlamaWorker('chat', [], []);
  expect(await infer('chat', '--prompt', 'x', '--stream')).toEqual({ code: 0, stdout: ' one two three\n', stderr: '' });
  const refused = await infer('chat', '--prompt', 'x'.repeat(5000));
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringMatching(/HTTP 400: request \(\d+ tokens\) exceeds/) });

  const client = new Client({ endpoint });
  const { outputs, parameters } = await client.infer('tiny', { prompt: ['x'] }, { parameters: { max_tokens: 2 } });
  expect(outputs['text'] && tensorToTexts(outputs['text'])).toEqual([' one two']);
  expect({ ...parameters }).toMatchObject({ finish_reason: 'length', completion_tokens: 2 });

  const messages: InferenceResponse[] = [];
  const dying = async (): Promise<void> => {
    for await (const message of client.inferStream('tiny', { prompt: ['y'] }, { retryOnFailure: false })) {
      messages.push(message);
      if (messages.length === 5) child.kill('SIGKILL');
    }
  };
  await expect(dying()).rejects.toMatchObject({ code: 'unavailable' });
  expect(messages.length).toBeGreaterThan(4);
  await client.close();
});

it('a worker in front of a llama.cpp server reports the calls of others', async () => {
  const { url } = await startLlamaWorker('load', [], []);
  const isOver = new AbortController();
  const headers = { authorization: 'Bearer the-key' };
  const body = JSON.stringify({ model: 'tiny', prompt: 'y' });
  const { signal } = isOver;
  // The server runs four calls at once. A call ends when its context is full, which takes this model less than a second.
  const calls = Array.from({ length: 8 }, async () => {
    while (!signal.aborted) {
      await fetch(`${url}/completions`, { method: 'POST', headers, body, signal }).then(
        (response) => response.text(),
        () => {},
      );
    }
  });
  await until('the load is listed', async () => {
    const { stdout } = await run(['registry', '--json', '--server', server]);
    const { replicas } = JSON.parse(stdout);
    const load = replicas.find((replica: { replica_id: string }) => replica.replica_id === 'load')?.load;
    return load?.running > 0 && load.waiting > 0;
  });
  isOver.abort();
  await Promise.all(calls);
});

it('a llama.cpp server is registered with its own URL, its model and its context length', async () => {
  const { url } = await startLlamaServer(model);
  const args = ['register', '--openai', url, '--id', 'http', '--server', server];
  const registered = start(args, { env: { ANYSERVE_OPENAI_KEY: 'the-key' } });
  await registered.waitForOutput(/^registered/m);
  const { stdout } = await run(['registry', '--json', '--server', server]);
  const { replicas } = JSON.parse(stdout);
  expect(replicas.find((replica: { replica_id: string }) => replica.replica_id === 'http')).toMatchObject({
    endpoint: url,
    // The context of 2048 tokens, shared by four calls at once.
    capabilities: [{ type: 'chat', model: 'tiny', ctx: 512 }],
  });
  await registered.stop();
});

it('a llama.cpp server returns embeddings', async () => {
  await startLlamaWorker('embed', ['embeddings'], ['--embeddings']);
  const { stderr, stdout } = await infer('embed', '--input', 'input=["x","y"]', '--json');
  expect(stderr).toBe('');
  expect(JSON.parse(stdout).outputs[0]).toMatchObject({
    name: 'embedding',
    datatype: 'FP32',
    shape: [2, expect.any(Number)],
  });
});
