import OpenAI, { toFile } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { closeAfterEach } from './support/close-after-each.js';
import { type HttpEngine, type ReceivedRequest, sendJson, startHttpEngine } from './support/http-engine.js';
import { BASE_URL, startTestFetch } from './support/model-fetch.js';
import { startOpenaiEngine } from './support/openai-engine.js';
import { until } from './support/until.js';

/** OpenAI's client through `createFetch`, and the same client with the URL of an engine. */
let fleet: Awaited<ReturnType<typeof startTestFetch>>;
let engine: HttpEngine;
let openai: OpenAI;
let direct: OpenAI;

beforeAll(async () => {
  fleet = await startTestFetch();
  engine = await startOpenaiEngine();
  await fleet.register('a', engine.url);
  openai = createClient(fleet);
  direct = new OpenAI({ baseURL: engine.url, apiKey: 'secret' });
});

afterAll(async () => {
  await fleet.close();
  engine.close();
});

const keep = closeAfterEach();

function createClient({ fetch }: typeof fleet): OpenAI {
  const secrets = {
    apiKey: 'secret',
    organization: 'org',
    project: 'project',
    defaultHeaders: { 'api-key': 'secret' },
  };
  return new OpenAI({ baseURL: BASE_URL, fetch, ...secrets });
}

/** Starts a fleet of engines with a client. */
async function startFleet(...respond: readonly Parameters<typeof startHttpEngine>[0][]) {
  const started = keep(await startTestFetch());
  const engines: HttpEngine[] = [];
  for (const each of respond) {
    const one = keep(await startHttpEngine(each));
    await started.register(`r${engines.length}`, one.url);
    engines.push(one);
  }
  return { engines, openai: createClient(started), fetch: started.fetch };
}

/** The parts of a request that must be the same whether a client calls an engine directly or not. */
function getSentParts({ method, url, headers, body }: ReceivedRequest): unknown {
  const { accept, 'content-type': type = '', 'user-agent': agent } = headers;
  const [, boundary = 'none'] = /boundary=(.*)/.exec(type) ?? [];
  const stainless = Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('x-stainless-')));
  const hide = (text: string): string => text.replaceAll(boundary, 'BOUNDARY');
  return { method, url, accept, agent, stainless, type: hide(type), body: hide(body) };
}

/** Makes a call in both ways. Expects the same bytes in both directions, and returns the result. */
async function callBothWays<T>(call: (client: OpenAI) => Promise<T>): Promise<T> {
  const before = engine.requests.length;
  const expected = await call(direct);
  const sentDirectly = engine.requests.slice(before);
  const result = await call(openai);
  const sent = engine.requests.slice(before + sentDirectly.length);
  expect(sent.length).toBeGreaterThan(0);
  expect(sent.map(getSentParts)).toEqual(sentDirectly.map(getSentParts));
  expect(JSON.stringify(sent.map(({ headers }) => headers))).not.toMatch(/secret|"org"|"project"/);
  expect(result).toEqual(expected);
  return result;
}

const ask = (content: string) => ({ model: 'm', messages: [{ role: 'user' as const, content }] });

const TOOLS = ['weather', 'time'].map((name) => ({
  type: 'function' as const,
  function: {
    name,
    description: `the ${name}`,
    parameters: { type: 'object', properties: { city: { type: 'string' } } },
  },
}));

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

describe("OpenAI's client through createFetch gets the same as from the engine, and sends the same:", () => {
  it('a chat', async () => {
    const { choices, _request_id } = await callBothWays((client) => client.chat.completions.create(ask('Hello ä☃')));
    expect([choices[0]?.message.content, _request_id]).toEqual(['I have read: Hello ä☃ ☃.', 'r1']);
  });

  it('the raw response', async () => {
    const { status, text } = await callBothWays(async (client) => {
      const response = await client.chat.completions.create(ask('Hello')).asResponse();
      return { status: response.status, url: response.url, text: await response.text() };
    });
    expect([status, text]).toEqual([200, expect.stringContaining('"I have read: Hello ☃."')]);
  });

  it('a stream, with usage', async () => {
    const chunks = await callBothWays(async (client) =>
      collect(
        await client.chat.completions.create({
          ...ask('a b c'),
          stream: true,
          stream_options: { include_usage: true },
        }),
      ),
    );
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe('I have read: a b c ☃.');
    expect(chunks.at(-1)?.usage?.total_tokens).toBe(5);
  });

  it('a stream that the helper accumulates', async () => {
    const text = await callBothWays((client) => client.chat.completions.stream(ask('a b')).finalContent());
    expect(text).toBe('I have read: a b ☃.');
  });

  it('parallel tool calls over several turns', async () => {
    const content = await callBothWays(async (client) => {
      const { choices } = await client.chat.completions.create({ ...ask('Weather?'), tools: TOOLS });
      const message = choices[0]?.message as OpenAI.ChatCompletionMessage;
      const results = (message.tool_calls ?? []).map((call) => ({
        role: 'tool' as const,
        tool_call_id: call.id,
        content: call.type === 'function' ? `${call.function.name} ${call.function.arguments}` : '',
      }));
      const messages = [...ask('Weather?').messages, message, ...results];
      return (await client.chat.completions.create({ model: 'm', messages, tools: TOOLS })).choices[0]?.message.content;
    });
    expect(content).toBe(
      'I have read: weather {"city":"Zürich 0"} and time {"city":"Zürich 1"} ☃.'.replaceAll('ü', '\\u00fc'),
    );
  });

  it('tools that the helper runs, streamed', async () => {
    const tools = TOOLS.map((tool) => ({
      ...tool,
      function: {
        ...tool.function,
        function: (text: string) => `${tool.function.name} in ${JSON.parse(text).city}`,
      },
    }));
    const text = await callBothWays((client) =>
      client.chat.completions.runTools({ ...ask('Weather?'), stream: true, tools }).finalContent(),
    );
    expect(text).toBe('I have read: weather in Zürich 0 and time in Zürich 1 ☃.');
  });

  it('structured output', async () => {
    const schema = { type: 'object', properties: { name: { type: 'string' } } };
    const format = { type: 'json_schema' as const, json_schema: { name: 'person', schema } };
    const { choices } = await callBothWays((client) =>
      client.chat.completions.parse({ ...ask('Who?'), response_format: format }),
    );
    expect(choices[0]?.message.content).toBe('{"name":"Ada","born":1815}');
  });

  it('images in messages', async () => {
    const url = `data:image/png;base64,${Buffer.alloc(100_000, 7).toString('base64')}`;
    const content = [
      { type: 'text' as const, text: 'What is this?' },
      { type: 'image_url' as const, image_url: { url } },
    ];
    const { choices } = await callBothWays((client) =>
      client.chat.completions.create({ model: 'm', messages: [{ role: 'user', content }] }),
    );
    expect(choices[0]?.message.content).toBe('I have read: text and image_url ☃.');
  });

  it.each([undefined, 'float', 'base64'] as const)('embeddings with the encoding %s', async (encoding) => {
    const input = { model: 'm', input: ['a', 'b'], ...(encoding && { encoding_format: encoding }) };
    const { data } = await callBothWays((client) => client.embeddings.create(input));
    const vector = encoding === 'base64' ? 'AAAAPwAAgL8AAFBA' : [0.5, -1, 3.25];
    expect(data.map(({ embedding }) => embedding)).toEqual([vector, vector]);
  });

  it('the Responses API, whole and streamed', async () => {
    const whole = await callBothWays((client) => client.responses.create({ model: 'm', input: 'Hello' }));
    expect(whole.output_text).toBe('You said Hello');
    const events = await callBothWays(async (client) =>
      collect(await client.responses.create({ model: 'm', input: 'Hello', stream: true })),
    );
    expect(events.map(({ type }) => type)).toEqual([
      'response.created',
      'response.output_text.delta',
      'response.completed',
    ]);
  });

  it('a transcription', async () => {
    const { text } = await callBothWays(async (client) =>
      client.audio.transcriptions.create({ model: 'm', file: await toFile(Buffer.from('the sound'), 'a.wav') }),
    );
    expect(text).toBe('a.wav: true');
  });

  it('speech, as bytes', async () => {
    const bytes = await callBothWays(async (client) =>
      Buffer.from(await (await client.audio.speech.create({ model: 'm', voice: 'v', input: 'x' })).arrayBuffer()),
    );
    expect([...bytes]).toEqual([0, 255, 128, 10, 13]);
  });
});

it('the models are those of the fleet', async () => {
  expect((await collect(openai.models.list())).map(({ id }) => id)).toEqual(['m']);
  expect((await openai.models.retrieve('m')).owned_by).toBe('anyserve');
  await expect(openai.models.retrieve('n')).rejects.toBeInstanceOf(OpenAI.NotFoundError);
});

describe('an error has the class that the client has for it:', () => {
  it('an unknown model', async () => {
    const error = await openai.chat.completions.create({ ...ask('x'), model: 'mm' }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    expect(error).toMatchObject({
      status: 404,
      code: 'model_not_found',
      param: 'model',
      type: 'invalid_request_error',
    });
  });

  it('a request that the engine refuses, which is not repeated', async () => {
    const refused = {
      error: { message: 'too long', type: 'invalid_request_error', param: 'messages', code: 'too_long' },
    };
    const { openai, engines } = await startFleet((_request, response) => sendJson(response, refused, 400));
    const error = await openai.chat.completions.create(ask('x')).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ message: '400 too long', code: 'too_long', param: 'messages' });
    expect(engines[0]?.requests.length).toBe(1);
  });

  it('a fleet at its limit: the last response with its Retry-After, after which the client does not try again', async () => {
    const limit = { error: { message: 'slow down', type: 'rate_limit', code: null, param: null } };
    const respond = (_request: ReceivedRequest, response: Parameters<typeof sendJson>[0]): void =>
      sendJson(response, limit, 429, { 'retry-after': '700' });
    const { openai, engines } = await startFleet(respond, respond);
    const error = await openai.chat.completions.create(ask('x')).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(OpenAI.RateLimitError);
    expect(error.headers.get('retry-after')).toBe('700');
    expect(engines.map(({ requests }) => requests.length)).toEqual([1, 1]);
  });

  it('an engine that fails everywhere, which the client does not try again', async () => {
    const respond = (_request: ReceivedRequest, response: Parameters<typeof sendJson>[0]): void =>
      sendJson(response, { error: { message: 'out of memory' } }, 500);
    const { openai, engines } = await startFleet(respond, respond, respond);
    await expect(openai.chat.completions.create(ask('x'))).rejects.toBeInstanceOf(OpenAI.InternalServerError);
    expect(engines.reduce((sum, { requests }) => sum + requests.length, 0)).toBe(2);
  });

  it('a stream that breaks off, after what has arrived', async () => {
    const { openai } = await startFleet((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n');
      setTimeout(() => response.destroy(), 50);
    });
    const stream = await openai.chat.completions.create({ ...ask('x'), stream: true });
    const texts: unknown[] = [];
    const read = async (): Promise<void> => {
      for await (const { choices } of stream) texts.push(choices[0]?.delta.content);
    };
    await expect(read()).rejects.toMatchObject({ code: 'unavailable' });
    expect(texts).toEqual(['one']);
  });
});

describe('a call that is over early is cancelled at the engine:', () => {
  /** Starts an engine that sends the beginning of a response, or nothing. */
  async function startEndless(text: string | undefined) {
    let closed = 0;
    const started = await startFleet((_request, response) => {
      response.on('close', () => closed++);
      if (text !== undefined) response.writeHead(200, { 'content-type': 'text/event-stream' }).write(text);
    });
    return { ...started, waitForClose: (count = 1) => until('the engine lost the calls', () => closed === count) };
  }

  it('an aborted call', async () => {
    const { openai, engines, waitForClose } = await startEndless(undefined);
    const abort = new AbortController();
    const call = openai.chat.completions.create(ask('x'), { signal: abort.signal });
    call.catch(() => {});
    await until('the engine has it', () => engines[0]?.requests.length === 1);
    abort.abort();
    await expect(call).rejects.toBeInstanceOf(OpenAI.APIUserAbortError);
    await waitForClose();
  });

  it('a stream whose reader leaves', async () => {
    const { openai, waitForClose } = await startEndless('data: {"choices":[]}\n\n');
    for await (const _chunk of await openai.chat.completions.create({ ...ask('x'), stream: true })) break;
    await waitForClose();
  });

  it('a stream that is aborted', async () => {
    const { openai, waitForClose } = await startEndless('data: {"choices":[]}\n\n');
    const stream = await openai.chat.completions.create({ ...ask('x'), stream: true });
    for await (const _chunk of stream) stream.controller.abort();
    await waitForClose();
  });

  it("a call after the client's timeout, which the client repeats", async () => {
    const { openai, waitForClose } = await startEndless(undefined);
    const call = openai.chat.completions.create(ask('x'), { timeout: 1000, maxRetries: 1 });
    await expect(call).rejects.toBeInstanceOf(OpenAI.APIConnectionTimeoutError);
    await waitForClose(2);
  });
});
