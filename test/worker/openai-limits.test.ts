import { describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import { clock, random } from '../../src/system.js';
import { findFreePort } from '../support/free-port.js';
import {
  collectMessages,
  readText,
  startBackend,
  startUpstream,
  startWorkerFor,
  toPromptInputs,
} from '../support/openai-calls.js';
import {
  createFinishChunk,
  createTextChunk,
  sendEvents,
  sendJson,
  type UpstreamHandler,
  writeEvents,
} from '../support/openai-upstream.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

describe('a continuous response', () => {
  it('has no total time limit, with text or with comments before and between it', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (!body) return undefined;
      let beats = 0;
      const timer = setInterval(() => {
        beats++;
        if (beats === 6) writeEvents(response, createTextChunk('a'));
        else if (beats < 12) {
          if (!response.headersSent) response.writeHead(200, { 'content-type': 'text/event-stream' });
          response.write(': still here\n\n');
        } else {
          clearInterval(timer);
          sendEvents(response, createTextChunk('b'), createFinishChunk('stop'), '[DONE]');
        }
      }, 300);
      return true;
    });
    const { client } = await startWorkerFor(upstream, { timeoutMs: 1500, idleTimeoutMs: 1500 });
    expect((await collectMessages(client)).map(readText)).toEqual(['a', 'b', '']);
  });

  it('can be a slow unary response', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (!body) return undefined;
      response.writeHead(200, { 'content-type': 'application/json' });
      const text = JSON.stringify({ choices: [{ message: { content: 'slow' }, finish_reason: 'stop' }] });
      let at = 0;
      const timer = setInterval(() => {
        response.write(text.slice(at, at + 10));
        at += 10;
        if (at < text.length) return;
        clearInterval(timer);
        response.end();
      }, 300);
      return true;
    });
    const { client } = await startWorkerFor(upstream, { timeoutMs: 1500, idleTimeoutMs: 1500 });
    expect(readText(await client.infer('chat', toPromptInputs('x')))).toBe('slow');
  });
});

describe('a silent engine', () => {
  it.each<[string, UpstreamHandler, string]>([
    ['no response head', ({ body }) => body && new Promise(() => {}), '0.9 s; --openai-timeout'],
    [
      'no byte after the head',
      ({ body }, response) => {
        if (body) response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
        return body && true;
      },
      '0.9 s; --openai-timeout',
    ],
    [
      'no byte after the first',
      ({ body }, response) => {
        if (body) writeEvents(response, createTextChunk('a'));
        return body && true;
      },
      'its response paused for 0.4 s; --openai-idle-timeout',
    ],
  ])('is given up, and the message names the option: %s', async (_what, handle, message) => {
    const upstream = await startUpstream(handle);
    const { client } = await startWorkerFor(upstream, { timeoutMs: 900, idleTimeoutMs: 400 });
    const late = { code: 'deadline_exceeded', message: expect.stringContaining(message) };
    await expect(collectMessages(client)).rejects.toMatchObject(late);
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject(late);
    await until('no connection is left open', () => upstream.open() === 0);
  });

  it('is not blamed for a caller that does not read', async () => {
    const upstream = await startUpstream();
    const [model] = (await startBackend(upstream, { timeoutMs: 1000, idleTimeoutMs: 400 })).models;
    const { signal } = new AbortController();
    const context = { model: '', version: '', id: '', parameters: {}, outputs: [], streaming: true, signal };
    const inputs = { prompt: { datatype: 'BYTES', shape: [1], data: [Buffer.from('one two three')] } } as const;
    const messages = model?.handle(inputs, context) as AsyncGenerator<{ text?: string[] }>;
    const texts = [(await messages.next()).value?.text];
    await new Promise((resolve) => setTimeout(resolve, 1200));
    for await (const message of messages) texts.push(message.text);
    expect(texts.slice(0, 3)).toEqual([['one '], ['two '], ['three']]);
  });
});

it('an engine gets up to 256 concurrent calls by default', async () => {
  const upstream = await startUpstream(({ body }) => body && new Promise(() => {}));
  for (const [maxConcurrency, running] of [
    [undefined, 256],
    [3, 3],
  ] as const) {
    const worker = await startTestWorker(await startBackend(upstream), { maxConcurrency, maxQueue: 100 });
    const client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
    const leaving = new AbortController();
    const before = upstream.requests.length;
    const calls = Array.from({ length: running + 20 }, () =>
      client.infer('chat', toPromptInputs('x'), { signal: leaving.signal }),
    );
    const ended = Promise.allSettled(calls);
    await until(`${running} calls run`, () => upstream.requests.length - before === running);
    leaving.abort();
    await ended;
    expect(upstream.requests.length - before).toBe(running);
    await client.close();
    await worker.stop();
  }
});

it('requests that find several kept-alive connections closed are sent on a new one', async () => {
  const upstream = await startUpstream(undefined, ['tiny'], { port: await findFreePort() });
  const { client } = await startWorkerFor(upstream, { models: ['tiny'] });
  await Promise.all(Array.from({ length: 8 }, () => client.infer('chat', toPromptInputs('x'))));
  await upstream.close();
  const again = await startUpstream(undefined, ['tiny'], { port: upstream.port });
  expect(readText(await client.infer('chat', toPromptInputs('x')))).toBe('x');
  expect(again.requests).toHaveLength(1);
});

it('an error body of any format becomes one line of text', async () => {
  for (const body of ['<html>\n<b>502</b>', { error: { message: ['a'] } }, null, 'x'.repeat(100_000)]) {
    const upstream = await startUpstream(({ body: asked }, response) => {
      if (asked) sendJson(response, 502, body);
      return asked && true;
    });
    const { client } = await startWorkerFor(upstream);
    const { message } = (await client.infer('chat', toPromptInputs('x')).catch((error) => error)) as Error;
    expect(message).toContain('returned HTTP 502');
    expect(message).not.toContain('\n');
    expect(message.length).toBeLessThan(1200);
  }
});
