import { describe, expect, it } from 'vitest';
import { clock } from '../../src/system.js';
import { createOpenaiBackend } from '../../src/worker/openai-backend.js';
import { backendOf, calling, partsOf, prompt, textOf, textsOf, upstreamOf } from '../support/openai-calls.js';
import { type Answering, events, finish, json, piece, write } from '../support/openai-upstream.js';

const delta = (fields: object): object => ({ choices: [{ index: 0, delta: fields }] });

/** Answers a call with a message, or with deltas to a caller that streams. */
const saying =
  (message: object, deltas: readonly object[] = [message], reason = 'stop'): Answering =>
  ({ body }, response) => {
    if (body?.stream) events(response, ...deltas.map(delta), finish(reason), '[DONE]');
    else if (body) json(response, 200, { choices: [{ index: 0, message, finish_reason: reason }] });
    return body && true;
  };

const call = (id: string, name: string, text: string) => ({
  id,
  type: 'function',
  function: { name, arguments: text },
});

describe('tool calls', () => {
  it('are an output as JSON when they come whole', async () => {
    const calls = [call('a', 'weather', '{"city":"Oslo"}'), call('b', '__proto__', '{}')];
    const { client } = await calling(await upstreamOf(saying({ content: null, tool_calls: calls }, [], 'tool_calls')));
    const answer = await client.infer('chat', prompt('x'));
    expect(answer.parameters).toMatchObject({ finish_reason: 'tool_calls' });
    const { text, tool_calls: [found = ''] = [] } = textsOf(answer);
    expect([text, JSON.parse(found)]).toEqual([[''], calls]);
  });

  it.each<[string, object[], object[]]>([
    [
      'pieces of two calls in turn',
      [
        { index: 0, ...call('a', 'weather', '') },
        { index: 1, ...call('b', 'time', '{"zone"') },
        { index: 0, function: { arguments: '{"city":"\ud83d' } },
        { index: 1, function: { arguments: ':1}' } },
        { index: 0, function: { arguments: '\udc32"}' } },
      ],
      [call('a', 'weather', '{"city":"🐲"}'), call('b', 'time', '{"zone":1}')],
    ],
    [
      'indices out of order',
      [
        { index: 1, ...call('b', 'time', '{}') },
        { index: 0, ...call('a', 'weather', '{}') },
      ],
      [call('a', 'weather', '{}'), call('b', 'time', '{}')],
    ],
    [
      'the same index for all calls',
      [
        { index: 0, ...call('a', 'weather', '{}') },
        { index: 0, ...call('b', 'time', '{}') },
      ],
      [call('a', 'weather', '{}'), call('b', 'time', '{}')],
    ],
    [
      'no index',
      [call('a', 'weather', '{}'), call('b', 'time', '{}')],
      [call('a', 'weather', '{}'), call('b', 'time', '{}')],
    ],
    [
      'neither index nor id, in one list',
      [{ function: { name: 'weather', arguments: '{}' } }, { function: { name: 'time', arguments: '{}' } }],
      [{ function: { name: 'weather', arguments: '{}' } }, { function: { name: 'time', arguments: '{}' } }],
    ],
    [
      'the same index for all calls, and empty ids',
      [
        { index: 0, ...call('', 'weather', '{"a"') },
        { index: 0, ...call('', 'weather', ':{}}') },
        { index: 0, ...call('', 'weather', '{}') },
      ],
      [call('', 'weather', '{"a":{}}'), call('', 'weather', '{}')],
    ],
    [
      'ids in turn, without indices',
      [
        call('a', 'weather', '{'),
        call('b', 'time', '{'),
        { id: 'a', function: { arguments: '}' } },
        { id: 'b', function: { arguments: '}' } },
      ],
      [call('a', 'weather', '{}'), call('b', 'time', '{}')],
    ],
    [
      'indices that are texts',
      [
        { index: '0', ...call('a', 'weather', '{') },
        { index: '1', ...call('b', 'time', '{') },
        { index: '0', function: { arguments: '}' } },
        { index: '1', function: { arguments: '}' } },
      ],
      [call('a', 'weather', '{}'), call('b', 'time', '{}')],
    ],
    [
      'arguments that are an object',
      [{ index: 0, id: 'a', type: 'function', function: { name: 'weather', arguments: { city: 'Oslo' } } }],
      [call('a', 'weather', '{"city":"Oslo"}')],
    ],
    [
      'id, type and name in every piece',
      [
        { index: 0, ...call('a', 'weather', '{"a"') },
        { index: 0, ...call('a', 'weather', ':1}') },
      ],
      [call('a', 'weather', '{"a":1}')],
    ],
    [
      'a call of another kind, and fields of an engine',
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
  ])('come with the last part of a stream, put together from %s', async (_what, deltas, calls) => {
    const messages = deltas.map((one) => ({ tool_calls: [one] }));
    const { client } = await calling(
      await upstreamOf(saying({}, [{ content: 'Let me see.' }, ...messages], 'tool_calls')),
    );
    const parts = (await partsOf(client)).map(textsOf);
    expect(parts.slice(0, -1)).toEqual([{ text: ['Let me see.'] }]);
    expect(parts.at(-1)?.['text']).toEqual(['']);
    expect(JSON.parse(parts.at(-1)?.['tool_calls']?.[0] ?? '')).toEqual(calls);
  });

  it('are an error when they are none', async () => {
    for (const toolCalls of ['text', [1]]) {
      const { client } = await calling(await upstreamOf(saying({ content: 'x', tool_calls: toolCalls })));
      const wrong = { code: 'internal', message: expect.stringMatching(/tool.call/) };
      await expect(client.infer('chat', prompt('x'))).rejects.toMatchObject(wrong);
      await expect(partsOf(client)).rejects.toMatchObject(wrong);
    }
  });
});

describe('texts and reasoning', () => {
  it('keep surrogate pairs together that the engine cuts, each in its own stream of pieces', async () => {
    const deltas = [
      { reasoning: 'a \ud83d' },
      { content: 'b \ud83d' },
      { reasoning: '\udc32' },
      { content: '' },
      { content: '\udc09' },
      { reasoning_content: '\ud83d' },
      { content: '\ud83d' },
    ];
    const { client } = await calling(await upstreamOf(saying({}, deltas)));
    expect((await partsOf(client)).map(textsOf)).toEqual([
      { text: [''], reasoning: ['a '] },
      { text: ['b '] },
      { text: [''], reasoning: ['🐲'] },
      { text: ['🐉'] },
      // No other half comes any more.
      { text: ['\ufffd'], reasoning: ['\ufffd'] },
    ]);
  });

  it('come whole from a message, from either field and from parts', async () => {
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
      const { client } = await calling(await upstreamOf(saying(message)));
      expect(textsOf(await client.infer('chat', prompt('x')))).toEqual({ text: ['yes'], reasoning: ['hm'] });
    }
  });
});

describe('what the text contract has no output for', () => {
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
  ])('is refused by name before the engine is asked: %s=%s', async (name, value) => {
    const upstream = await upstreamOf();
    const { client } = await calling(upstream);
    await expect(client.infer('chat', prompt('x'), { parameters: { [name]: value } })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(`parameter "${name}"`),
    });
    expect(upstream.requests).toEqual([]);
  });

  it('is let through where it asks for nothing more', async () => {
    const upstream = await upstreamOf();
    const { client } = await calling(upstream);
    const parameters = { n: 1, logprobs: false, top_logprobs: 0, modalities: '["text"]' };
    await client.infer('chat', prompt('x'), { parameters });
    expect(upstream.requests[0]?.body).toMatchObject({ n: 1, logprobs: false, top_logprobs: 0, modalities: ['text'] });
  });

  it.each<[string, object]>([
    ['audio', { content: null, audio: { id: 'a', data: 'AAAA', transcript: 'hi' } }],
    ['images', { content: 'Here.', images: [{ type: 'image_url' }] }],
    ['function_call', { content: null, function_call: { name: 'f', arguments: '{}' } }],
    ['image_url', { content: [{ type: 'image_url', image_url: { url: 'data:' } }] }],
  ])('is an error that names it when an answer has it: %s', async (name, message) => {
    const { client } = await calling(await upstreamOf(saying(message)));
    const wrong = { code: 'unimplemented', message: expect.stringContaining(`its response has "${name}"`) };
    await expect(client.infer('chat', prompt('x'))).rejects.toMatchObject(wrong);
    await expect(partsOf(client)).rejects.toMatchObject(wrong);
  });

  it('is an error when an answer has several choices', async () => {
    const choices = [0, 1].map((index) => ({ index, message: { content: `text ${index}` }, finish_reason: 'stop' }));
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        if (body) json(response, 200, { choices });
        return body && true;
      }),
    );
    const wrong = { code: 'internal', message: expect.stringContaining('several choices') };
    await expect(client.infer('chat', prompt('x'))).rejects.toMatchObject(wrong);
    await expect(partsOf(client)).rejects.toMatchObject(wrong);
  });

  it('is named in left_out when it is not content, and fields without a value are nothing', async () => {
    const nothing = {
      role: 'assistant',
      audio: null,
      tool_calls: [],
      function_call: null,
      annotations: [],
      refusal: null,
    };
    const { client } = await calling(await upstreamOf(saying({ ...nothing, content: 'x' })));
    expect((await client.infer('chat', prompt('x'))).parameters).not.toHaveProperty('left_out');
    const annotated = { content: 'x', annotations: [{ type: 'url_citation' }], provider_specific_fields: { a: 1 } };
    const other = await calling(await upstreamOf(saying(annotated)));
    const named = { left_out: 'annotations,provider_specific_fields' };
    expect((await other.client.infer('chat', prompt('x'))).parameters).toMatchObject(named);
    expect((await partsOf(other.client)).at(-1)?.parameters).toMatchObject(named);
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
    const upstream = await upstreamOf();
    const { client } = await calling(upstream);
    await client.infer('chat', prompt('x'), { parameters: { [name]: given } });
    expect(upstream.requests[0]?.body[name]).toEqual(sent);
  });
});

describe('fields that an upstream refuses', () => {
  it.each([
    [400, { error: { message: 'Unrecognized request argument supplied: stream_options' } }],
    [422, { detail: [{ loc: ['body', 'stream_options'], msg: 'Extra inputs are not permitted' }] }],
    [400, { error: 'bad request' }],
    [500, { error: { message: 'unexpected keyword argument stream_options' } }],
    [200, { error: { message: 'stream_options is not supported', code: 400 } }],
  ])('are left out on a second try, and from then on: HTTP %i', async (status, body) => {
    const upstream = await upstreamOf((request, response) => {
      if (request.body?.stream_options === undefined) return undefined;
      json(response, status, body);
      return true;
    });
    const { client } = await calling(upstream);
    for (let calls = 0; calls < 2; calls++) expect((await partsOf(client)).map(textOf)).toEqual(['x', '']);
    expect(upstream.requests.map((request) => 'stream_options' in request.body)).toEqual([true, false, false]);
  });

  it('can be the encoding of embeddings', async () => {
    const upstream = await upstreamOf((request, response) => {
      if (request.body?.encoding_format === undefined) return undefined;
      json(response, 400, { error: { message: "unknown field 'encoding_format'" } });
      return true;
    });
    const { client } = await calling(upstream, { embeddingModels: 'all' });
    for (let calls = 0; calls < 2; calls++) {
      expect((await client.infer('embed', { input: ['four'] })).outputs['embedding']?.data).toEqual(
        Float32Array.of(4, 0, 0.5),
      );
    }
    expect(upstream.requests).toHaveLength(3);
  });

  it('are not blamed for what the caller did wrong', async () => {
    const upstream = await upstreamOf((request, response) => {
      if (request.body?.temperature !== 9) return undefined;
      json(response, 400, { error: { message: 'temperature is too high' } });
      return true;
    });
    const { client } = await calling(upstream);
    await expect(partsOf(client, { temperature: 9 })).rejects.toThrow('temperature is too high');
    await partsOf(client);
    // Now it is known that the server takes them.
    await expect(partsOf(client, { temperature: 9 })).rejects.toThrow('temperature is too high');
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
  ])('has the code of its word: %j', async (event, code) => {
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        if (body) events(response, piece('a'), event);
        return body && true;
      }),
    );
    await expect(partsOf(client)).rejects.toMatchObject({ code });
  });

  it.each<[string, string, string, string]>([
    ['the name of the event', 'event: error\ndata: {"code":503,"message":"gone"}\n\n', 'unavailable', 'gone'],
    ['the name of the event, before a text', 'event: error\ndata: out of memory\n\n', 'internal', 'out of memory'],
    ['the name of the event alone', 'event: error\ndata:\n\n', 'internal', 'no reason given'],
    ['a field of its own', 'error: {"code":503,"message":"gone"}\n\n', 'unavailable', 'gone'],
    ['a document without a field', '{"error":{"type":"overloaded_error","message":"gone"}}\n', 'unavailable', 'gone'],
    ['a document without a line end', '{"error":"gone"}', 'internal', 'gone'],
    ['a message at the top', 'data: {"code":429,"message":"too many"}\n\n', 'resource_exhausted', 'too many'],
    ['a detail, as FastAPI has it', 'data: {"detail":"not now"}\n\n', 'internal', 'not now'],
    ['a list', 'data: {"errors":[{"message":"not now"}]}\n\n', 'internal', 'not now'],
  ])('can be told by %s', async (_what, text, code, said) => {
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        if (body) write(response, piece('a'));
        if (body) response.end(text);
        return body && true;
      }),
    );
    await expect(partsOf(client)).rejects.toMatchObject({ code, message: expect.stringContaining(said) });
  });
});

describe('a stream', () => {
  const chunks = [piece('a'), piece('b'), finish('stop')].map((chunk) => `data: ${JSON.stringify(chunk)}`);

  it.each<[string, string, string]>([
    ['without a content type', '', `${chunks.join('\n\n')}\n\ndata: [DONE]\n\n`],
    ['as plain text, after comments', 'text/plain', `: hello\n\n: again\n\n${chunks.join('\n\n')}\n\ndata: [DONE]\n\n`],
    ['called JSON', 'application/json', `${chunks.join('\n\n')}\n\n`],
    [
      'with empty events between',
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
  ])('is read %s, however it is cut', async (_what, type, text) => {
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        if (!body) return undefined;
        if (type) response.setHeader('content-type', type);
        const bytes = Buffer.from(text);
        let at = 0;
        const next = (): void => {
          response.write(bytes.subarray(at, at + 7));
          at += 7;
          if (at < bytes.length) setImmediate(next);
          else response.end();
        };
        next();
        return true;
      }),
    );
    expect((await partsOf(client)).map(textOf)).toEqual(['a', 'b', '']);
  });

  it('can have choices that say nothing, an index that is a text, and an empty end behind the end', async () => {
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        const ended = { choices: [{ index: '0', delta: { content: 'a' }, finish_reason: 'stop' }] };
        const empty = { choices: [{ index: 0, delta: { content: '' }, finish_reason: '' }] };
        if (body) events(response, { choices: [null] }, { choices: null }, ended, empty, '[DONE]');
        return body && true;
      }),
    );
    const parts = await partsOf(client);
    expect(parts.map(textOf)).toEqual(['a', '']);
    expect(parts.at(-1)?.parameters).toMatchObject({ finish_reason: 'stop' });
  });

  it('can be one JSON document under the type of a stream', async () => {
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        if (!body) return undefined;
        response.setHeader('content-type', 'text/event-stream');
        response.end('\n{"choices":[{"message":{"content":"whole"},"finish_reason":"stop"}]}');
        return true;
      }),
    );
    expect((await partsOf(client)).map(textOf)).toEqual(['whole', '']);
  });

  it('comes from servers that stream though they are not asked to, and is one answer', async () => {
    const streaming = (...chunks: (object | string)[]): Answering => {
      return ({ body }, response) => {
        if (body) events(response, ...chunks);
        return body && true;
      };
    };
    const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
    const chunks = [delta({ reasoning: 'hm' }), piece('a '), piece('b'), finish('stop'), { choices: [], usage }];
    const { client } = await calling(await upstreamOf(streaming(...chunks, '[DONE]')));
    const answer = await client.infer('chat', prompt('x'));
    expect(textsOf(answer)).toEqual({ text: ['a b'], reasoning: ['hm'] });
    expect(answer.parameters).toMatchObject({ finish_reason: 'stop', ...usage });

    const { client: other } = await calling(await upstreamOf(streaming(piece('a'))));
    await expect(other.infer('chat', prompt('x'))).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('broke off'),
    });
  });

  it('of one event without an end is given up, in bounded memory', async () => {
    const { client } = await calling(
      await upstreamOf(({ body }, response) => {
        if (!body) return undefined;
        write(response, piece('a'));
        const megabyte = Buffer.alloc(1024 * 1024, 'x');
        response.write('data: ');
        const more = (): void => {
          if (!response.destroyed) response.write(megabyte, () => setImmediate(more));
        };
        more();
        return true;
      }),
    );
    await expect(partsOf(client)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('has more than'),
    });
  });
});

describe('an answer that is too large', () => {
  it('is given up, be it a text, an error or a list of models', async () => {
    const endless: Answering = ({ body, path }, response) => {
      if (!body && path !== '/v1/models') return undefined;
      response.writeHead(body?.model === 'failing' ? 400 : 200);
      response.write('{"error":{"message":"');
      const more = (): void => {
        if (!response.destroyed) response.write(Buffer.alloc(1024 * 1024, 'x'), () => setImmediate(more));
      };
      more();
      return true;
    };
    const onlyCalls: Answering = (request, ...others) => (request.body ? endless(request, ...others) : undefined);
    const { client } = await calling(await upstreamOf(onlyCalls, ['tiny', 'failing']));
    await expect(client.infer('tiny', prompt('x'))).rejects.toMatchObject({
      message: expect.stringContaining('has more than'),
    });
    await expect(client.infer('failing', prompt('x'))).rejects.toMatchObject({ code: 'invalid_argument' });
    const waiting = new AbortController();
    const upstream = await upstreamOf(endless);
    const lines: string[] = [];
    const info = (line: string): void => {
      lines.push(line);
      waiting.abort();
    };
    const log = { info, warn: () => {} };
    const options = {
      url: upstream.url,
      timeoutMs: 1000,
      idleTimeoutMs: 1000,
      models: [],
      embeddingModels: [],
      capabilities: [],
    };
    await createOpenaiBackend({ ...options, clock, log }, waiting.signal).catch(() => {});
    expect(lines.join()).toMatch(/more than \d+ bytes/);
  });
});

describe('a vector that is none', () => {
  const answers: readonly [string, string, number][] = [
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
  it.each(answers)('is an error: %s', async (_what, data, count) => {
    const upstream = await upstreamOf(({ body }, response) => {
      if (body) response.setHeader('content-type', 'application/json').end(`{"data":${data}}`);
      return body && true;
    });
    const { client } = await calling(upstream, { embeddingModels: 'all' });
    const input = Array.from({ length: count }, (_, at) => `text ${at}`);
    await expect(client.infer('embed', { input })).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining(upstream.url),
    });
  });

  it('is not one that comes without an index', async () => {
    const upstream = await upstreamOf(({ body }, response) => {
      if (body) json(response, 200, { data: [{ embedding: [1] }, { embedding: [2], index: null }] });
      return body && true;
    });
    const { models } = await backendOf(upstream, { embeddingModels: 'all' });
    expect(models).toHaveLength(1);
    const { client } = await calling(upstream, { embeddingModels: 'all' });
    const { outputs } = await client.infer('embed', { input: ['a', 'b'] });
    expect(outputs['embedding']?.data).toEqual(Float32Array.of(1, 2));
  });
});
