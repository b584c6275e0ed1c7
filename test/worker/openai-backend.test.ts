import { describe, expect, it } from 'vitest';
import type { HandlerResult, InferenceResponse } from '../../src/inference/inference-data.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import { createCapability } from '../../src/json/capability-json.js';
import type { Model } from '../../src/worker/backend.js';
import { readText, startBackend, startUpstream, startWorkerFor, toPromptInputs } from '../support/openai-calls.js';
import {
  createFinishChunk,
  createTextChunk,
  sendEvents,
  sendJson,
  type UpstreamHandler,
  writeEvents,
} from '../support/openai-upstream.js';
import { until } from '../support/until.js';

const KEY = 'sk-not-for-anyone-to-see';

describe('the models of an OpenAI-compatible server', () => {
  it('are the listed ones, each with its capability', async () => {
    const { models } = await startBackend(await startUpstream(undefined, ['tiny', 'nomic']), {
      embeddingModels: ['nomic'],
    });
    expect(models.flatMap(({ capabilities }) => capabilities.map(({ source }) => source))).toEqual([
      '{"type":"chat","model":"tiny"}',
      '{"type":"embed","model":"nomic"}',
    ]);
  });

  it('are the named ones, when names are given', async () => {
    const { models } = await startBackend(await startUpstream(undefined, ['a', 'b:latest']), {
      models: ['b'],
      embeddingModels: 'all',
    });
    expect(models.map(({ name, capabilities }) => [name, capabilities[0]?.source])).toEqual([
      ['b', '{"type":"embed","model":"b"}'],
    ]);
  });

  it('include those named for embeddings, even when others are named', async () => {
    const { models } = await startBackend(await startUpstream(undefined, ['a', 'b', 'c']), {
      models: ['a'],
      embeddingModels: ['c'],
    });
    expect(models.map(({ capabilities }) => capabilities[0]?.source)).toEqual([
      '{"type":"chat","model":"a"}',
      '{"type":"embed","model":"c"}',
    ]);
  });

  it('return embeddings when they are named for that, with or without their tag', async () => {
    const { models } = await startBackend(await startUpstream(undefined, ['qwen:0.5b', 'nomic:latest']), {
      embeddingModels: ['nomic'],
    });
    expect(models.map(({ capabilities }) => capabilities[0]?.source)).toEqual([
      '{"type":"chat","model":"qwen:0.5b"}',
      '{"type":"embed","model":"nomic:latest"}',
    ]);
  });

  it('offer the given capability attributes, in addition to type and name or instead of them', async () => {
    const { models } = await startBackend(await startUpstream(undefined, ['a', 'b']), {
      capabilities: [{ gpu: 'h100' }, { model: 'b', type: 'code' }, { model: 'alias' }].map(createCapability),
    });
    expect(models.map(({ capabilities }) => capabilities.map(({ source }) => source))).toEqual([
      ['{"type":"chat","model":"a","gpu":"h100"}', '{"type":"chat","model":"alias"}'],
      ['{"type":"chat","model":"b","gpu":"h100"}', '{"type":"code","model":"b"}', '{"type":"chat","model":"alias"}'],
    ]);
  });

  it('are rejected by name when the server does not have them', async () => {
    const upstream = await startUpstream();
    await expect(startBackend(upstream, { models: ['nope'] })).rejects.toMatchObject({
      code: 'usage',
      message: `${upstream.url} has no model "nope"; its models: "tiny"`,
    });
  });

  it('are requested again while the server is loading', async () => {
    let isLoading = true;
    const upstream = await startUpstream(({ path }, response) => {
      if (path !== '/v1/models' || !isLoading) return undefined;
      isLoading = false;
      sendJson(response, 503, { error: { message: 'Loading model' } });
      return true;
    });
    const { models, log } = await startBackend(upstream);
    expect(models).toHaveLength(1);
    expect(log.lines).toEqual([`waiting for ${upstream.url} returned HTTP 503: Loading model`]);
  });

  it('are not requested again when the key is rejected, or when it is not an OpenAI-compatible server', async () => {
    const closed = await startUpstream((_request, response) => {
      sendJson(response, 401, { error: { message: `no key ${KEY} here` } });
      return true;
    });
    await expect(startBackend(closed, { key: KEY })).rejects.toMatchObject({
      code: 'failed',
      message: `${closed.url} returned HTTP 401: no key *** here; give AnyServe the key in ANYSERVE_OPENAI_KEY or with --openai-key-file`,
    });
    const other = await startUpstream((_request, response) => {
      sendJson(response, 404, {});
      return true;
    });
    await expect(startBackend(other)).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringContaining('--model'),
    });
    expect((await startBackend(other, { models: ['unlisted'] })).models).toHaveLength(1);
  });

  it('require a URL without a secret, and a key that is a valid header value', async () => {
    for (const url of ['localhost:8000', 'ftp://x/v1', 'http://x/v1?key=1']) {
      await expect(startBackend({ url })).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringContaining('/v1'),
      });
    }
    await expect(startBackend({ url: 'http://me:secret@x/v1' })).rejects.not.toMatchObject({
      message: expect.stringContaining('secret'),
    });
    await expect(startBackend({ url: 'http://x/v1' }, { key: 'two words' })).rejects.toMatchObject({
      code: 'usage',
      message: expect.not.stringContaining('words'),
    });
  });

  it('are monitored: the check fails when none of them can be called', async () => {
    const upstream = await startUpstream(undefined, ['a', 'b']);
    const { check } = await startBackend(upstream);
    const { signal } = new AbortController();
    await check?.(signal);
    upstream.offer(['a']);
    await check?.(signal);
    upstream.offer([]);
    await expect(check?.(signal)).rejects.toThrow(`${upstream.url} no longer offers any model`);
    await upstream.close();
    await expect(check?.(signal)).rejects.toMatchObject({
      code: 'unavailable',
      message: `${upstream.url}: nothing listens there`,
    });
  });
});

describe('a chat', () => {
  it('responds to a prompt with the text, the finish reason and the token counts', async () => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream, { key: KEY });
    const response = await client.infer('chat', toPromptInputs('one two three'));
    expect(response.outputs['text']).toMatchObject({ datatype: 'BYTES', shape: [1] });
    expect(readText(response)).toBe('one two three');
    expect({ ...response.parameters }).toEqual({
      finish_reason: 'stop',
      prompt_tokens: 1,
      completion_tokens: 3,
      total_tokens: 4,
    });
    expect(upstream.requests).toEqual([
      {
        path: '/v1/chat/completions',
        authorization: `Bearer ${KEY}`,
        body: { model: 'tiny', messages: [{ role: 'user', content: 'one two three' }] },
      },
    ]);
  });

  it('without a model name uses the first model', async () => {
    const upstream = await startUpstream(undefined, ['first', 'second']);
    const { client } = await startWorkerFor(upstream);
    for (const model of ['chat', 'second', 'first']) await client.infer(model, toPromptInputs('x'));
    expect(upstream.requests.map(({ body }) => body.model)).toEqual(['first', 'second', 'first']);
  });

  it('streams the tokens as they arrive', async () => {
    const { client } = await startWorkerFor(await startUpstream());
    const messages: InferenceResponse[] = [];
    for await (const message of client.inferStream('tiny', toPromptInputs('one two three'))) messages.push(message);
    expect(messages.map(readText)).toEqual(['one ', 'two ', 'three', '']);
    expect(messages.map(({ parameters }) => Object.keys(parameters).length)).toEqual([0, 0, 0, 4]);
  });

  it('passes on messages and parameters', async () => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream);
    const messages = [
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: [{ type: 'text', text: 'Hi' }], name: '__proto__' },
    ];
    await client.infer(
      'chat',
      { messages: [JSON.stringify(messages)] },
      {
        parameters: {
          temperature: 0.5,
          top_p: { double: 1 },
          max_tokens: 7,
          seed: 12345678901234567890n,
          stop: '["\\n","END"]',
          response_format: '{"type":"json_object"}',
          user: '[not json',
          triton_enable_empty_final_response: true,
        },
      },
    );
    expect(upstream.requests[0]?.body).toEqual({
      model: 'tiny',
      messages,
      temperature: 0.5,
      top_p: 1,
      max_tokens: 7,
      seed: 12345678901234567000,
      stop: ['\n', 'END'],
      response_format: { type: 'json_object' },
      user: '[not json',
    });
  });

  it('rejects parameters that the worker sets itself', async () => {
    const { client } = await startWorkerFor(await startUpstream());
    for (const name of ['model', 'stream', 'messages', 'stream_options']) {
      await expect(client.infer('chat', toPromptInputs('x'), { parameters: { [name]: 1 } })).rejects.toMatchObject({
        code: 'invalid_argument',
        message: expect.stringContaining(`parameter "${name}"`),
      });
    }
  });

  it('never splits a character', async () => {
    const upstream = await startUpstream((request, response) => {
      if (!request.body?.stream) return undefined;
      // One network chunk ends within the bytes of a character, one text piece between its two UTF-16 units.
      const bytes = Buffer.from(`data: ${JSON.stringify(createTextChunk('dragons 🐉!'))}\n\n`);
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(bytes.subarray(0, bytes.length - 16));
      setImmediate(() => {
        response.write(bytes.subarray(bytes.length - 16));
        sendEvents(response, createTextChunk('\ud83d'), createTextChunk('\udc32'), createFinishChunk('stop'), '[DONE]');
      });
      return true;
    });
    const { client } = await startWorkerFor(upstream);
    const texts: string[] = [];
    for await (const message of client.inferStream('chat', toPromptInputs('x'))) texts.push(readText(message));
    expect(texts).toEqual(['dragons 🐉!', '🐲', '']);
  });

  it('separates the reasoning of a model from its text', async () => {
    const thought = { choices: [{ delta: { reasoning_content: 'hm' } }] };
    const upstream = await startUpstream(({ body }, response) => {
      if (body?.stream) sendEvents(response, thought, createTextChunk('yes'), createFinishChunk('stop'), '[DONE]');
      else if (body)
        sendJson(response, 200, { choices: [{ message: { reasoning: 'hm', content: 'yes' }, finish_reason: 'stop' }] });
      return body && true;
    });
    const { client } = await startWorkerFor(upstream);
    const { outputs } = await client.infer('chat', toPromptInputs('x'));
    expect(Object.entries(outputs).map(([name, tensor]) => [name, ...tensorToTexts(tensor)])).toEqual([
      ['text', 'yes'],
      ['reasoning', 'hm'],
    ]);
    const messages: string[][] = [];
    for await (const message of client.inferStream('chat', toPromptInputs('x'))) {
      messages.push(Object.values(message.outputs).flatMap(tensorToTexts));
    }
    expect(messages).toEqual([['', 'hm'], ['yes'], ['']]);
  });

  it('returns the refusal of a model, and the texts of content parts', async () => {
    const parts = [{ type: 'thinking' }, { type: 'text', text: 'in ' }, { type: 'text', text: 'parts' }];
    for (const [message, text] of [
      [{ content: null, refusal: 'I cannot.' }, 'I cannot.'],
      [{ content: parts }, 'in parts'],
    ] as const) {
      const upstream = await startUpstream(({ body }, response) => {
        if (body?.stream) sendEvents(response, { choices: [{ delta: message }] }, createFinishChunk('stop'), '[DONE]');
        else if (body) sendJson(response, 200, { choices: [{ message, finish_reason: 'stop' }] });
        return body && true;
      });
      const { client } = await startWorkerFor(upstream);
      expect(readText(await client.infer('chat', toPromptInputs('x')))).toBe(text);
      const { value } = await client.inferStream('chat', toPromptInputs('x')).next();
      expect(readText(value)).toBe(text);
    }
  });

  it('requests an uncompressed response', async () => {
    const encodings = new Set<string | undefined>();
    const upstream = await startUpstream((_request, _response, { headers }) => {
      encodings.add(headers['accept-encoding'] as string | undefined);
      return undefined;
    });
    const { client } = await startWorkerFor(upstream);
    await client.infer('chat', toPromptInputs('x'));
    expect([...encodings]).toEqual(['identity']);
  });

  it('streams events for any spelling of their content type', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (!body) return undefined;
      response.writeHead(200, { 'content-type': 'Text/Event-Stream; charset=UTF-8' });
      sendEvents(response, createTextChunk('a'), createFinishChunk('stop'), '[DONE]');
      return true;
    });
    const { client } = await startWorkerFor(upstream);
    const { value } = await client.inferStream('chat', toPromptInputs('x')).next();
    expect(readText(value)).toBe('a');
  });

  it('accepts a unary response from a server that does not stream', async () => {
    const whole = { choices: [{ message: { content: 'all at once' }, finish_reason: 'length' }] };
    const upstream = await startUpstream(({ body }, response) => {
      if (body) sendJson(response, 200, whole);
      return body && true;
    });
    const { client } = await startWorkerFor(upstream);
    const messages: InferenceResponse[] = [];
    for await (const message of client.inferStream('chat', toPromptInputs('x'))) messages.push(message);
    expect(messages.map(readText)).toEqual(['all at once', '']);
    expect({ ...messages[1]?.parameters }).toEqual({ finish_reason: 'length' });
  });

  it('keeps 64 concurrent streams separate and in order', async () => {
    const { client } = await startWorkerFor(await startUpstream());
    const listNumbers = async (stream: number): Promise<string> => {
      const words = Array.from({ length: 50 }, (_, at) => `${stream}:${at}`).join(' ');
      let text = '';
      for await (const message of client.inferStream('chat', toPromptInputs(words))) text += readText(message);
      return text === words ? 'whole' : text;
    };
    const all = await Promise.all(Array.from({ length: 64 }, (_, stream) => listNumbers(stream)));
    expect(new Set(all)).toEqual(new Set(['whole']));
  });

  it('ends the upstream request when the caller disconnects', async () => {
    for (const streaming of [true, false]) {
      const upstream = await startUpstream(({ body }, response) => {
        if (body?.stream) writeEvents(response, createTextChunk('first '));
        return body && true;
      });
      const { client } = await startWorkerFor(upstream);
      const leaving = new AbortController();
      const { signal } = leaving;
      const called = streaming
        ? (async () => {
            for await (const _message of client.inferStream('chat', toPromptInputs('x'), { signal })) leaving.abort();
          })()
        : client.infer('chat', toPromptInputs('x'), { signal });
      called.catch(() => {});
      await until('the request has arrived', () => upstream.requests.length > 0);
      if (!streaming) leaving.abort();
      await until('the upstream request has ended', () => upstream.open() === 0);
      await expect(called).rejects.toBeDefined();
    }
  });
});

describe('an upstream that fails', () => {
  const startRefusing =
    (status: number, body: unknown, headers = {}): UpstreamHandler =>
    ({ body: asked }, response) => {
      if (!asked) return undefined;
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
      return true;
    };

  it.each([
    [400, 'invalid_argument'],
    [401, 'unauthenticated'],
    [403, 'permission_denied'],
    [404, 'not_found'],
    [408, 'deadline_exceeded'],
    [422, 'invalid_argument'],
    [429, 'resource_exhausted'],
    [500, 'internal'],
    [502, 'unavailable'],
    [503, 'unavailable'],
    [504, 'deadline_exceeded'],
  ])('keeps the meaning of HTTP %i: %s', async (status, code) => {
    const { client } = await startWorkerFor(
      await startUpstream(startRefusing(status, { error: { message: 'because' } })),
    );
    for (const call of [
      client.infer('chat', toPromptInputs('x')),
      client.inferStream('chat', toPromptInputs('x')).next(),
    ]) {
      await expect(call).rejects.toMatchObject({
        code,
        message: expect.stringContaining(`returned HTTP ${status}: because`),
      });
    }
  });

  it('gives advice where possible, and never reveals its key', async () => {
    const limited = await startUpstream(startRefusing(429, { message: 'too many' }, { 'retry-after': '7' }));
    await expect((await startWorkerFor(limited)).client.infer('chat', toPromptInputs('x'))).rejects.toThrow(
      'try again after 7 s',
    );
    const date = 'Wed, 21 Oct 2026 07:28:00 GMT';
    const dated = await startUpstream(startRefusing(429, { message: 'too many' }, { 'retry-after': date }));
    await expect((await startWorkerFor(dated)).client.infer('chat', toPromptInputs('x'))).rejects.toThrow(
      /try again after .* GMT$/,
    );
    const moved = await startUpstream(startRefusing(308, {}, { location: 'https://x/v1/chat/completions' }));
    await expect((await startWorkerFor(moved)).client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject({
      code: 'failed_precondition',
      message: expect.stringContaining('it redirects to https://x/v1/chat/completions'),
    });
    const closed = await startUpstream(startRefusing(401, { error: `wrong key: ${KEY}` }));
    const { client, worker } = await startWorkerFor(closed, { key: KEY });
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toThrow(
      /wrong key: \*\*\*; give AnyServe the key in ANYSERVE_OPENAI_KEY/,
    );
    expect(worker.log.lines.join()).not.toContain(KEY);
  });

  it('is an error when it breaks off, ends too early, or reports an error', async () => {
    const breaking: [UpstreamHandler, string, string][] = [
      [
        ({ body }, response) => {
          if (body) writeEvents(response, createTextChunk('a'));
          if (body) setImmediate(() => response.destroy());
          return body && true;
        },
        'unavailable',
        'closed before the response',
      ],
      [
        ({ body }, response) => {
          if (body) sendEvents(response, createTextChunk('a'));
          return body && true;
        },
        'unavailable',
        'closed before the response',
      ],
      [
        ({ body }, response) => {
          if (body) sendEvents(response, createTextChunk('a'), { error: { message: 'out of memory', code: 503 } });
          return body && true;
        },
        'unavailable',
        'returned an error: out of memory',
      ],
      [
        ({ body }, response) => {
          if (body)
            sendEvents(response, createTextChunk('a'), {
              error: { message: 'slow down', code: 'rate_limit_exceeded' },
            });
          return body && true;
        },
        'resource_exhausted',
        'slow down',
      ],
      [
        ({ body }, response) => {
          if (body)
            sendEvents(response, createTextChunk('a'), { object: 'error', message: 'too long', code: '400' }, '[DONE]');
          return body && true;
        },
        'invalid_argument',
        'too long',
      ],
    ];
    for (const [handle, code, message] of breaking) {
      const { client } = await startWorkerFor(await startUpstream(handle));
      const texts: string[] = [];
      const reading = (async () => {
        for await (const message of client.inferStream('chat', toPromptInputs('x'))) texts.push(readText(message));
      })();
      await expect(reading).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
      expect(texts).toEqual(['a']);
    }
  });

  it('is an error when it reports one with HTTP 200', async () => {
    const { client } = await startWorkerFor(
      await startUpstream(startRefusing(200, { error: { message: 'no credit', code: 429 } })),
    );
    for (const call of [
      client.infer('chat', toPromptInputs('x')),
      client.inferStream('chat', toPromptInputs('x')).next(),
    ]) {
      await expect(call).rejects.toMatchObject({
        code: 'resource_exhausted',
        message: expect.stringContaining('returned an error: no credit'),
      });
    }
  });

  it('is disconnected when the rest of its stream is not needed', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (body) writeEvents(response, createTextChunk('a'), { error: { message: 'out of memory' } });
      return body && true;
    });
    const [model] = (await startBackend(upstream)).models as [Model];
    const inputs = { prompt: { datatype: 'BYTES', shape: [1], data: [Buffer.from('x')] } } as const;
    const { signal } = new AbortController();
    const context = { model: '', version: '', id: '', parameters: {}, outputs: [], streaming: true, signal };
    const messages = model.handle(inputs, context) as AsyncGenerator<HandlerResult>;
    await messages.next();
    await expect(messages.next()).rejects.toThrow('out of memory');
    await until('no connection is left open', () => upstream.open() === 0);
  });

  it('is distinguished from a server with another protocol', async () => {
    for (const body of [{}, { choices: [] }, [], 'text']) {
      const { client } = await startWorkerFor(await startUpstream(startRefusing(200, body)));
      for (const call of [
        client.infer('chat', toPromptInputs('x')),
        client.inferStream('chat', toPromptInputs('x')).next(),
      ]) {
        await expect(call).rejects.toMatchObject({
          code: 'internal',
          message: expect.stringContaining('is not an OpenAI-compatible server'),
        });
      }
    }
  });

  it('is called once when it closes the connection during a response', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (body) setTimeout(() => response.destroy(), 400);
      return body && true;
    });
    const { client } = await startWorkerFor(upstream);
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('closed the connection without a response'),
    });
    expect(upstream.requests).toHaveLength(1);
  });

  it('is unavailable when its response is not HTTP', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (body) response.socket?.end('SSH-2.0-OpenSSH_9.2\r\n');
      return body && true;
    });
    const { client } = await startWorkerFor(upstream);
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('its response is not HTTP'),
    });
  });

  it('is unavailable when it is gone', async () => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream);
    await client.infer('chat', toPromptInputs('x'));
    await upstream.close();
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('nothing listens there'),
    });
  });
});

describe('embeddings', () => {
  it('are one vector per text, in the order of the texts', async () => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream, { embeddingModels: 'all' });
    const { outputs, parameters } = await client.infer(
      'embed',
      { input: ['a', 'four', ''] },
      { parameters: { dimensions: 3 } },
    );
    expect(outputs['embedding']).toEqual({
      datatype: 'FP32',
      shape: [3, 3],
      data: Float32Array.of(1, 0, 0.5, 4, 1, 0.5, 0, 2, 0.5),
    });
    expect({ ...parameters }).toEqual({ prompt_tokens: 3, total_tokens: 3 });
    expect(upstream.requests[0]?.body).toEqual({
      model: 'tiny',
      dimensions: 3,
      input: ['a', 'four', ''],
      encoding_format: 'float',
    });
  });
});
