import type { ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { clock } from '../../src/system.js';
import { createOpenaiBackend } from '../../src/worker/openai-backend.js';
import {
  collectMessages,
  readText,
  readTexts,
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

const createDelta = (fields: object): object => ({ choices: [{ index: 0, delta: fields }] });

/** Responds with a message, or with deltas to a streaming request. */
const respondWith =
  (message: object, deltas: readonly object[] = [message], reason = 'stop'): UpstreamHandler =>
  ({ body }, response) => {
    if (body?.stream) sendEvents(response, ...deltas.map(createDelta), createFinishChunk(reason), '[DONE]');
    else if (body) sendJson(response, 200, { choices: [{ index: 0, message, finish_reason: reason }] });
    return body && true;
  };

const createToolCall = (id: string, name: string, text: string) => ({
  id,
  type: 'function',
  function: { name, arguments: text },
});

describe('tool calls', () => {
  it('become an output as JSON in a unary response', async () => {
    const calls = [createToolCall('a', 'weather', '{"city":"Oslo"}'), createToolCall('b', '__proto__', '{}')];
    const { client } = await startWorkerFor(
      await startUpstream(respondWith({ content: null, tool_calls: calls }, [], 'tool_calls')),
    );
    const response = await client.infer('chat', toPromptInputs('x'));
    expect(response.parameters).toMatchObject({ finish_reason: 'tool_calls' });
    const { text, tool_calls: [found = ''] = [] } = readTexts(response);
    expect([text, JSON.parse(found)]).toEqual([[''], calls]);
  });

  it.each<[string, object[], object[]]>([
    [
      'alternating pieces of two calls',
      [
        { index: 0, ...createToolCall('a', 'weather', '') },
        { index: 1, ...createToolCall('b', 'time', '{"zone"') },
        { index: 0, function: { arguments: '{"city":"\ud83d' } },
        { index: 1, function: { arguments: ':1}' } },
        { index: 0, function: { arguments: '\udc32"}' } },
      ],
      [createToolCall('a', 'weather', '{"city":"🐲"}'), createToolCall('b', 'time', '{"zone":1}')],
    ],
    [
      'indices out of order',
      [
        { index: 1, ...createToolCall('b', 'time', '{}') },
        { index: 0, ...createToolCall('a', 'weather', '{}') },
      ],
      [createToolCall('a', 'weather', '{}'), createToolCall('b', 'time', '{}')],
    ],
    [
      'the same index for all calls',
      [
        { index: 0, ...createToolCall('a', 'weather', '{}') },
        { index: 0, ...createToolCall('b', 'time', '{}') },
      ],
      [createToolCall('a', 'weather', '{}'), createToolCall('b', 'time', '{}')],
    ],
    [
      'no index',
      [createToolCall('a', 'weather', '{}'), createToolCall('b', 'time', '{}')],
      [createToolCall('a', 'weather', '{}'), createToolCall('b', 'time', '{}')],
    ],
    [
      'neither index nor id, in one list',
      [{ function: { name: 'weather', arguments: '{}' } }, { function: { name: 'time', arguments: '{}' } }],
      [{ function: { name: 'weather', arguments: '{}' } }, { function: { name: 'time', arguments: '{}' } }],
    ],
    [
      'the same index for all calls, and empty ids',
      [
        { index: 0, ...createToolCall('', 'weather', '{"a"') },
        { index: 0, ...createToolCall('', 'weather', ':{}}') },
        { index: 0, ...createToolCall('', 'weather', '{}') },
      ],
      [createToolCall('', 'weather', '{"a":{}}'), createToolCall('', 'weather', '{}')],
    ],
    [
      'alternating ids, without indices',
      [
        createToolCall('a', 'weather', '{'),
        createToolCall('b', 'time', '{'),
        { id: 'a', function: { arguments: '}' } },
        { id: 'b', function: { arguments: '}' } },
      ],
      [createToolCall('a', 'weather', '{}'), createToolCall('b', 'time', '{}')],
    ],
    [
      'indices that are strings',
      [
        { index: '0', ...createToolCall('a', 'weather', '{') },
        { index: '1', ...createToolCall('b', 'time', '{') },
        { index: '0', function: { arguments: '}' } },
        { index: '1', function: { arguments: '}' } },
      ],
      [createToolCall('a', 'weather', '{}'), createToolCall('b', 'time', '{}')],
    ],
    [
      'arguments as an object',
      [{ index: 0, id: 'a', type: 'function', function: { name: 'weather', arguments: { city: 'Oslo' } } }],
      [createToolCall('a', 'weather', '{"city":"Oslo"}')],
    ],
    [
      'id, type and name in every piece',
      [
        { index: 0, ...createToolCall('a', 'weather', '{"a"') },
        { index: 0, ...createToolCall('a', 'weather', ':1}') },
      ],
      [createToolCall('a', 'weather', '{"a":1}')],
    ],
    [
      'a call of another type, with engine-specific fields',
      [
        {
          index: 0,
          id: 'a',
          type: 'custom',
          custom: { name: 'sql', input: 'SELECT ' },
          extra_content: { google: { s: 'x' } },
        },
        { index: 0, custom: { input: '1' }, function: null },
      ],
      [{ id: 'a', type: 'custom', custom: { name: 'sql', input: 'SELECT 1' }, extra_content: { google: { s: 'x' } } }],
    ],
  ])('come with the last message of a stream, joined from %s', async (_what, deltas, calls) => {
    const messages = deltas.map((one) => ({ tool_calls: [one] }));
    const { client } = await startWorkerFor(
      await startUpstream(respondWith({}, [{ content: 'Let me see.' }, ...messages], 'tool_calls')),
    );
    const received = (await collectMessages(client)).map(readTexts);
    expect(received.slice(0, -1)).toEqual([{ text: ['Let me see.'] }]);
    expect(received.at(-1)?.['text']).toEqual(['']);
    expect(JSON.parse(received.at(-1)?.['tool_calls']?.[0] ?? '')).toEqual(calls);
  });

  it('are an error if they are malformed', async () => {
    for (const toolCalls of ['text', [1]]) {
      const { client } = await startWorkerFor(
        await startUpstream(respondWith({ content: 'x', tool_calls: toolCalls })),
      );
      const wrong = { code: 'internal', message: expect.stringMatching(/tool.call/) };
      await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject(wrong);
      await expect(collectMessages(client)).rejects.toMatchObject(wrong);
    }
  });
});

describe('texts and reasoning', () => {
  it('keep surrogate pairs together when the engine splits them, separately for each output', async () => {
    const deltas = [
      { reasoning: 'a \ud83d' },
      { content: 'b \ud83d' },
      { reasoning: '\udc32' },
      { content: '' },
      { content: '\udc09' },
      { reasoning_content: '\ud83d' },
      { content: '\ud83d' },
    ];
    const { client } = await startWorkerFor(await startUpstream(respondWith({}, deltas)));
    expect((await collectMessages(client)).map(readTexts)).toEqual([
      { text: [''], reasoning: ['a '] },
      { text: ['b '] },
      { text: [''], reasoning: ['🐲'] },
      { text: ['🐉'] },
      // The stream has ended, so the other half never arrives.
      { text: ['\ufffd'], reasoning: ['\ufffd'] },
    ]);
  });

  it('come from either field of a message and from content parts', async () => {
    for (const message of [
      { content: 'yes', reasoning: 'hm', reasoning_content: null },
      { content: 'yes', reasoning: 'hm', reasoning_content: 'hm' },
      {
        content: [
          { type: 'thinking', thinking: [{ type: 'text', text: 'hm' }] },
          { type: 'text', text: 'yes' },
        ],
      },
    ]) {
      const { client } = await startWorkerFor(await startUpstream(respondWith(message)));
      expect(readTexts(await client.infer('chat', toPromptInputs('x')))).toEqual({ text: ['yes'], reasoning: ['hm'] });
    }
  });
});

describe('content that the text contract does not support', () => {
  it.each([
    ['n', 2],
    ['best_of', 3],
    ['logprobs', true],
    ['logprobs', 5],
    ['top_logprobs', 2],
    ['prompt_logprobs', 1],
    ['audio', '{"voice":"alloy"}'],
    ['modalities', '["text","audio"]'],
    ['functions', '[]'],
    ['function_call', 'auto'],
    ['encoding_format', 'base64'],
  ])('is rejected by its parameter name before a request to the engine: %s=%s', async (name, value) => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream);
    await expect(client.infer('chat', toPromptInputs('x'), { parameters: { [name]: value } })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(`parameter "${name}"`),
    });
    expect(upstream.requests).toEqual([]);
  });

  it('is accepted when its parameter has no effect', async () => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream);
    const parameters = { n: 1, logprobs: false, top_logprobs: 0, modalities: '["text"]' };
    await client.infer('chat', toPromptInputs('x'), { parameters });
    expect(upstream.requests[0]?.body).toMatchObject({ n: 1, logprobs: false, top_logprobs: 0, modalities: ['text'] });
  });

  it.each<[string, object]>([
    ['audio', { content: null, audio: { id: 'a', data: 'AAAA', transcript: 'hi' } }],
    ['images', { content: 'Here.', images: [{ type: 'image_url' }] }],
    ['function_call', { content: null, function_call: { name: 'f', arguments: '{}' } }],
    ['image_url', { content: [{ type: 'image_url', image_url: { url: 'data:' } }] }],
  ])('in a response is an error that names it: %s', async (name, message) => {
    const { client } = await startWorkerFor(await startUpstream(respondWith(message)));
    const wrong = { code: 'unimplemented', message: expect.stringContaining(`its response has "${name}"`) };
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject(wrong);
    await expect(collectMessages(client)).rejects.toMatchObject(wrong);
  });

  it('is an error when a response has several choices', async () => {
    const choices = [0, 1].map((index) => ({ index, message: { content: `text ${index}` }, finish_reason: 'stop' }));
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        if (body) sendJson(response, 200, { choices });
        return body && true;
      }),
    );
    const wrong = { code: 'internal', message: expect.stringContaining('several choices') };
    await expect(client.infer('chat', toPromptInputs('x'))).rejects.toMatchObject(wrong);
    await expect(collectMessages(client)).rejects.toMatchObject(wrong);
  });

  it('is listed in left_out when it is not text; fields without a value are ignored', async () => {
    const nothing = {
      role: 'assistant',
      audio: null,
      tool_calls: [],
      function_call: null,
      annotations: [],
      refusal: null,
    };
    const { client } = await startWorkerFor(await startUpstream(respondWith({ ...nothing, content: 'x' })));
    expect((await client.infer('chat', toPromptInputs('x'))).parameters).not.toHaveProperty('left_out');
    const annotated = { content: 'x', annotations: [{ type: 'url_citation' }], provider_specific_fields: { a: 1 } };
    const other = await startWorkerFor(await startUpstream(respondWith(annotated)));
    const named = { left_out: 'annotations,provider_specific_fields' };
    expect((await other.client.infer('chat', toPromptInputs('x'))).parameters).toMatchObject(named);
    expect((await collectMessages(other.client)).at(-1)?.parameters).toMatchObject(named);
  });
});

describe('texts of parameters', () => {
  it.each([
    ['stop', '[1]', '[1]'],
    ['stop', '["a",1]', '["a",1]'],
    ['stop', '{"a":1}', '{"a":1}'],
    ['stop', '[]]', '[]]'],
    ['stop', '["a","b"]', ['a', 'b']],
    ['user', '[1]', '[1]'],
    ['guided_regex', '[1]', '[1]'],
    ['prompt_cache_key', '{"a":1}', '{"a":1}'],
    ['tools', '[{"type":"function"}]', [{ type: 'function' }]],
    ['response_format', '{"type":"json_object"}', { type: 'json_object' }],
  ])('%s=%s', async (name, given, sent) => {
    const upstream = await startUpstream();
    const { client } = await startWorkerFor(upstream);
    await client.infer('chat', toPromptInputs('x'), { parameters: { [name]: given } });
    expect(upstream.requests[0]?.body[name]).toEqual(sent);
  });
});

describe('fields that an upstream rejects', () => {
  it.each([
    [400, { error: { message: 'Unrecognized request argument supplied: stream_options' } }],
    [422, { detail: [{ loc: ['body', 'stream_options'], msg: 'Extra inputs are not permitted' }] }],
    [400, { error: 'bad request' }],
    [500, { error: { message: 'unexpected keyword argument stream_options' } }],
    [200, { error: { message: 'stream_options is not supported', code: 400 } }],
  ])('are omitted in a second attempt, and from then on: HTTP %i', async (status, body) => {
    const upstream = await startUpstream((request, response) => {
      if (request.body?.stream_options === undefined) return undefined;
      sendJson(response, status, body);
      return true;
    });
    const { client } = await startWorkerFor(upstream);
    for (let calls = 0; calls < 2; calls++) expect((await collectMessages(client)).map(readText)).toEqual(['x', '']);
    expect(upstream.requests.map((request) => 'stream_options' in request.body)).toEqual([true, false, false]);
  });

  it('can be the encoding of embeddings', async () => {
    const upstream = await startUpstream((request, response) => {
      if (request.body?.encoding_format === undefined) return undefined;
      sendJson(response, 400, { error: { message: "unknown field 'encoding_format'" } });
      return true;
    });
    const { client } = await startWorkerFor(upstream, { embeddingModels: 'all' });
    for (let calls = 0; calls < 2; calls++) {
      expect((await client.infer('embed', { input: ['four'] })).outputs['embedding']?.data).toEqual(
        Float32Array.of(4, 0, 0.5),
      );
    }
    expect(upstream.requests).toHaveLength(3);
  });

  it('are not blamed for an error of the caller', async () => {
    const upstream = await startUpstream((request, response) => {
      if (request.body?.temperature !== 9) return undefined;
      sendJson(response, 400, { error: { message: 'temperature is too high' } });
      return true;
    });
    const { client } = await startWorkerFor(upstream);
    await expect(collectMessages(client, { temperature: 9 })).rejects.toThrow('temperature is too high');
    await collectMessages(client);
    // By now the worker knows that the server accepts these fields.
    await expect(collectMessages(client, { temperature: 9 })).rejects.toThrow('temperature is too high');
    expect(upstream.requests.map((request) => 'stream_options' in request.body)).toEqual([true, false, true, true]);
  });
});

describe('an error inside a stream', () => {
  it.each([
    [{ error: { type: 'rate_limit_error', message: 'slow' } }, 'resource_exhausted'],
    [{ error: { type: 'tokens', code: 'rate_limit_exceeded', message: 'slow' } }, 'resource_exhausted'],
    [{ error: { type: 'RateLimitError', code: null, message: 'slow' } }, 'resource_exhausted'],
    [{ error: { status: 'RESOURCE_EXHAUSTED', message: 'slow' } }, 'resource_exhausted'],
    [{ error: { type: 'insufficient_quota', message: 'no credit' } }, 'resource_exhausted'],
    [{ error: { type: 'authentication_error', message: 'who' } }, 'unauthenticated'],
    [{ error: { type: 'permission_error', message: 'no' } }, 'permission_denied'],
    [{ error: { type: 'not_found_error', message: 'no such model' } }, 'not_found'],
    [{ error: { type: 'invalid_request_error', message: 'bad' } }, 'invalid_argument'],
    [{ error: { type: 'exceed_context_size_error', message: 'long' } }, 'invalid_argument'],
    [{ error: { type: 'BadRequestError', message: 'bad' } }, 'invalid_argument'],
    [{ error: { type: 'overloaded_error', message: 'busy' } }, 'unavailable'],
    [{ error: 'busy', error_type: 'overloaded' }, 'unavailable'],
    [{ error: { type: 'timeout_error', message: 'late' } }, 'deadline_exceeded'],
    [{ error: { type: 'not_supported_error', message: 'cannot' } }, 'unimplemented'],
    [{ error: { type: 'server_error', message: 'oh' } }, 'internal'],
    [{ error: { type: 'constructor', message: 'oh' } }, 'internal'],
    [
      { choices: [{ index: 0, delta: {}, finish_reason: 'error', error: { code: 429, message: 'slow' } }] },
      'resource_exhausted',
    ],
  ])('has the status of its error type: %j', async (event, code) => {
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        if (body) sendEvents(response, createTextChunk('a'), event);
        return body && true;
      }),
    );
    await expect(collectMessages(client)).rejects.toMatchObject({ code });
  });

  it.each<[string, string, string, string]>([
    ['the name of the event', 'event: error\ndata: {"code":503,"message":"gone"}\n\n', 'unavailable', 'gone'],
    ['the name of the event, before a text', 'event: error\ndata: out of memory\n\n', 'internal', 'out of memory'],
    ['the name of the event alone', 'event: error\ndata:\n\n', 'internal', 'no reason given'],
    ['a separate field', 'error: {"code":503,"message":"gone"}\n\n', 'unavailable', 'gone'],
    ['a document without a field', '{"error":{"type":"overloaded_error","message":"gone"}}\n', 'unavailable', 'gone'],
    ['a document without a line end', '{"error":"gone"}', 'internal', 'gone'],
    ['a top-level message', 'data: {"code":429,"message":"too many"}\n\n', 'resource_exhausted', 'too many'],
    ['a detail, as in FastAPI', 'data: {"detail":"not now"}\n\n', 'internal', 'not now'],
    ['a list', 'data: {"errors":[{"message":"not now"}]}\n\n', 'internal', 'not now'],
  ])('can be reported by %s', async (_what, text, code, said) => {
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        if (body) writeEvents(response, createTextChunk('a'));
        if (body) response.end(text);
        return body && true;
      }),
    );
    await expect(collectMessages(client)).rejects.toMatchObject({ code, message: expect.stringContaining(said) });
  });
});

describe('a stream', () => {
  const chunks = [createTextChunk('a'), createTextChunk('b'), createFinishChunk('stop')].map(
    (chunk) => `data: ${JSON.stringify(chunk)}`,
  );

  it.each<[string, string, string]>([
    ['without a content type', '', `${chunks.join('\n\n')}\n\ndata: [DONE]\n\n`],
    ['as plain text, after comments', 'text/plain', `: hello\n\n: again\n\n${chunks.join('\n\n')}\n\ndata: [DONE]\n\n`],
    ['with the JSON content type', 'application/json', `${chunks.join('\n\n')}\n\n`],
    [
      'with empty events in between',
      'text/event-stream',
      `${chunks.join('\n\ndata:\n\ndata:  \n\nevent: ping\ndata: x\n\n')}\n\ndata: [DONE] \n\n`,
    ],
    ['with CR LF and a byte order mark', 'text/event-stream', `\ufeff${chunks.join('\r\n\r\n')}\r\n\r\n`],
    ['with CR', 'text/event-stream', `${chunks.join('\r\r')}\r\r`],
    [
      'without a blank line at its end',
      'text/event-stream',
      `${chunks.join('\n\n')}\ndata: [DONE]\n`.replace('\ndata: [', '\n\ndata: ['),
    ],
  ])('is parsed %s, however the bytes are split', async (_what, type, text) => {
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        if (!body) return undefined;
        if (type) response.setHeader('content-type', type);
        const bytes = Buffer.from(text);
        let at = 0;
        const sendNext = (): void => {
          response.write(bytes.subarray(at, at + 7));
          at += 7;
          if (at < bytes.length) setImmediate(sendNext);
          else response.end();
        };
        sendNext();
        return true;
      }),
    );
    expect((await collectMessages(client)).map(readText)).toEqual(['a', 'b', '']);
  });

  it('can have empty choices, an index as a string, and an empty chunk after the end', async () => {
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        const ended = { choices: [{ index: '0', delta: { content: 'a' }, finish_reason: 'stop' }] };
        const empty = { choices: [{ index: 0, delta: { content: '' }, finish_reason: '' }] };
        if (body) sendEvents(response, { choices: [null] }, { choices: null }, ended, empty, '[DONE]');
        return body && true;
      }),
    );
    const messages = await collectMessages(client);
    expect(messages.map(readText)).toEqual(['a', '']);
    expect(messages.at(-1)?.parameters).toMatchObject({ finish_reason: 'stop' });
  });

  it('can be one JSON document with the content type of a stream', async () => {
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        if (!body) return undefined;
        response.setHeader('content-type', 'text/event-stream');
        response.end('\n{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}');
        return true;
      }),
    );
    expect((await collectMessages(client)).map(readText)).toEqual(['whole', '']);
  });

  it('from a server that always streams becomes one unary response', async () => {
    const streamAlways = (...chunks: (object | string)[]): UpstreamHandler => {
      return ({ body }, response) => {
        if (body) sendEvents(response, ...chunks);
        return body && true;
      };
    };
    const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
    const chunks = [
      createDelta({ reasoning: 'hm' }),
      createTextChunk('a '),
      createTextChunk('b'),
      createFinishChunk('stop'),
      { choices: [], usage },
    ];
    const { client } = await startWorkerFor(await startUpstream(streamAlways(...chunks, '[DONE]')));
    const response = await client.infer('chat', toPromptInputs('x'));
    expect(readTexts(response)).toEqual({ text: ['a b'], reasoning: ['hm'] });
    expect(response.parameters).toMatchObject({ finish_reason: 'stop', ...usage });

    const { client: other } = await startWorkerFor(await startUpstream(streamAlways(createTextChunk('a'))));
    await expect(other.infer('chat', toPromptInputs('x'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('closed before the response'),
    });
  });

  it('is aborted in bounded memory if it is one endless event', async () => {
    const { client } = await startWorkerFor(
      await startUpstream(({ body }, response) => {
        if (!body) return undefined;
        writeEvents(response, createTextChunk('a'));
        const megabyte = Buffer.alloc(1024 * 1024, 'x');
        response.write('data: ');
        const sendMore = (): void => {
          if (!response.destroyed) response.write(megabyte, () => setImmediate(sendMore));
        };
        sendMore();
        return true;
      }),
    );
    await expect(collectMessages(client)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('has more than'),
    });
  });
});

describe('a response that is too large', () => {
  it('is aborted: a text, an error or a list of models', async () => {
    const sendEndlessly: UpstreamHandler = ({ body, path }, response) => {
      if (!body && path !== '/v1/models') return undefined;
      response.writeHead(body?.model === 'failing' ? 400 : 200);
      response.write('{"error":{"message":"');
      const sendMore = (): void => {
        if (!response.destroyed) response.write(Buffer.alloc(1024 * 1024, 'x'), () => setImmediate(sendMore));
      };
      sendMore();
      return true;
    };
    const answerCallsOnly: UpstreamHandler = (request, ...others) =>
      request.body ? sendEndlessly(request, ...others) : undefined;
    const { client } = await startWorkerFor(await startUpstream(answerCallsOnly, ['tiny', 'failing']));
    await expect(client.infer('tiny', toPromptInputs('x'))).rejects.toMatchObject({
      message: expect.stringContaining('has more than'),
    });
    await expect(client.infer('failing', toPromptInputs('x'))).rejects.toMatchObject({ code: 'invalid_argument' });
    const waiting = new AbortController();
    const upstream = await startUpstream(sendEndlessly);
    const lines: string[] = [];
    const info = (line: string): void => {
      lines.push(line);
      waiting.abort();
    };
    const log = { info, warn: () => {} };
    const options = {
      url: upstream.url,
      timeoutMs: 10_000,
      idleTimeoutMs: 10_000,
      models: [],
      embeddingModels: [],
      capabilities: [],
    };
    await createOpenaiBackend({ ...options, clock, log }, waiting.signal).catch(() => {});
    expect(lines.join()).toMatch(/more than \d+ bytes/);
  });
});

describe('a compressed response', () => {
  const compressed = (status: number, headers: object): UpstreamHandler => {
    return ({ body }, response) => {
      if (body) response.writeHead(status, { ...headers }).end(gzipSync('{"error":{"message":"x"}}'));
      return body && true;
    };
  };

  it('is an error that names the compression', async () => {
    const { client } = await startWorkerFor(await startUpstream(compressed(200, { 'content-encoding': 'gzip' })), {
      embeddingModels: ['tiny'],
    });
    const error = { code: 'internal', message: expect.stringContaining('its response is compressed (gzip)') };
    await expect(client.infer('tiny', { input: ['x'] })).rejects.toMatchObject(error);
    const chat = await startWorkerFor(await startUpstream(compressed(200, { 'content-encoding': 'br' })));
    await expect(collectMessages(chat.client)).rejects.toThrow('its response is compressed (br)');
  });

  it('is not shown when it is an error', async () => {
    const { client } = await startWorkerFor(await startUpstream(compressed(429, { 'content-encoding': 'gzip' })));
    const message = expect.stringMatching(/returned HTTP 429: no reason given$/);
    await expect(collectMessages(client)).rejects.toMatchObject({ code: 'resource_exhausted', message });
  });
});

it('an error in a list of one, as Google sends it, is read at any status', async () => {
  const error = [{ error: { code: 429, message: 'too many', status: 'RESOURCE_EXHAUSTED' } }];
  const rejected = { code: 'resource_exhausted', message: expect.stringMatching(/: too many$/) };
  for (const send of [
    (response: ServerResponse): void => sendJson(response, 429, error),
    (response: ServerResponse): void => sendJson(response, 200, error),
    (response: ServerResponse): void => sendEvents(response, error),
    (response: ServerResponse): void => sendEvents(response, createTextChunk('a'), error),
  ]) {
    const upstream = await startUpstream(({ body }, response) => {
      if (body) send(response);
      return body && true;
    });
    await expect(collectMessages((await startWorkerFor(upstream)).client)).rejects.toMatchObject({
      ...rejected,
      message: expect.stringMatching(/: too many( \(after one message of the stream\))?$/),
    });
    await expect((await startWorkerFor(upstream)).client.infer('tiny', toPromptInputs('x'))).rejects.toMatchObject(
      rejected,
    );
  }
});

it.each([
  ['', 'its response is empty'],
  ['x', 'not JSON: '],
])('a list of models that is %j is an error that names the server once', async (text, problem) => {
  const upstream = await startUpstream((_request, response) => {
    response.end(text);
    return true;
  });
  const waiting = new AbortController();
  const lines: string[] = [];
  const info = (line: string): void => {
    lines.push(line);
    waiting.abort();
  };
  const options = { url: upstream.url, timeoutMs: 10_000, idleTimeoutMs: 10_000, models: [], capabilities: [] };
  const log = { info, warn: () => {} };
  await createOpenaiBackend({ ...options, embeddingModels: [], clock, log }, waiting.signal).catch(() => {});
  expect(lines).toHaveLength(1);
  expect(lines[0]?.split(upstream.url)).toHaveLength(2);
  expect(lines[0]).toContain(`is not an OpenAI-compatible server (${problem}`);
});

describe('an invalid vector', () => {
  const responses: readonly [string, string, number][] = [
    ['null', '[{"embedding":null}]', 1],
    ['a null in it', '[{"embedding":[1,null]}]', 1],
    ['NaN', '[{"embedding":[1,NaN]}]', 1],
    ['Infinity', '[{"embedding":[1,-Infinity]}]', 1],
    ['a number over what doubles hold', '[{"embedding":[1,1e999]}]', 1],
    ['a number over what FP32 holds', '[{"embedding":[1,1e39]}]', 1],
    ['a text in it', '[{"embedding":["1"]}]', 1],
    ['a boolean in it', '[{"embedding":[true]}]', 1],
    ['ragged vectors', '[{"index":0,"embedding":[1,2]},{"index":1,"embedding":[1]}]', 2],
    ['an empty vector', '[{"embedding":[]}]', 1],
    ['too few', '[{"index":0,"embedding":[1]}]', 2],
    ['too many', '[{"index":0,"embedding":[1]},{"index":1,"embedding":[1]}]', 1],
    ['none', '[]', 1],
    ['a vector per token', '[{"embedding":[[1,2],[3,4]]}]', 1],
    ['base64', '[{"embedding":"AACAPw=="}]', 1],
    ['an object', '[{"embedding":{"float":[1]}}]', 1],
    ['an index twice', '[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}]', 2],
    ['an index out of range', '[{"index":1,"embedding":[1]},{"index":2,"embedding":[2]}]', 2],
    ['an index on some only', '[{"index":0,"embedding":[1]},{"embedding":[2]}]', 2],
    ['null for an entry', '[null]', 1],
    ['no list', '{"0":{"embedding":[1]}}', 1],
  ];
  it.each(responses)('is an error: %s', async (_what, data, count) => {
    const upstream = await startUpstream(({ body }, response) => {
      if (body) response.setHeader('content-type', 'application/json').end(`{"data":${data}}`);
      return body && true;
    });
    const { client } = await startWorkerFor(upstream, { embeddingModels: 'all' });
    const input = Array.from({ length: count }, (_, at) => `text ${at}`);
    await expect(client.infer('embed', { input })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(upstream.url),
    });
  });

  it('a vector without an index is accepted', async () => {
    const upstream = await startUpstream(({ body }, response) => {
      if (body) sendJson(response, 200, { data: [{ embedding: [1] }, { embedding: [2], index: null }] });
      return body && true;
    });
    const { models } = await startBackend(upstream, { embeddingModels: 'all' });
    expect(models).toHaveLength(1);
    const { client } = await startWorkerFor(upstream, { embeddingModels: 'all' });
    const { outputs } = await client.infer('embed', { input: ['a', 'b'] });
    expect(outputs['embedding']?.data).toEqual(Float32Array.of(1, 2));
  });
});
