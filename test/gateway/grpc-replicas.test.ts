import { afterEach, describe, expect, it } from 'vitest';
import { AnyserveError } from '../../src/core/errors.js';
import { HandlerResponse, type HandlerResult, type Tensors } from '../../src/inference/inference-data.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import { TEXT_INPUTS, TEXT_OUTPUTS } from '../../src/inference/text-contract.js';
import { App } from '../../src/worker/app.js';
import type { Backend, InferenceContext, Model } from '../../src/worker/backend.js';
import { startBareServer } from '../support/bare-server.js';
import { startTestGateway } from '../support/gateway.js';
import { sendJson, startHttpEngine } from '../support/http-engine.js';
import { startBackend, startUpstream } from '../support/openai-calls.js';
import { exchangeBytes } from '../support/raw-exchange.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const CHAT = '/v1/chat/completions';
const MESSAGES = [{ role: 'user', content: 'Hi' }];

// biome-ignore lint/suspicious/noExplicitAny: tests read only the fields they expect
type AnyJson = any;

type Handle = (inputs: Record<string, string[]>, context: InferenceContext) => AsyncGenerator<HandlerResult>;

/** Creates a backend with one model of the text contract. */
function createTextBackend(handle: Handle, model: Partial<Model> = {}): Backend {
  const read = (inputs: Tensors): Record<string, string[]> =>
    Object.fromEntries(
      Object.entries(inputs).map(([name, tensor]) => [
        name,
        tensor.datatype === 'BYTES' ? tensorToTexts(tensor) : Array.from(tensor.data as ArrayLike<unknown>, String),
      ]),
    );
  const [declared] = new App().capability({ type: 'chat', model: 'm' }, async () => ({})).models;
  return {
    models: [
      {
        ...(declared as Model),
        inputs: TEXT_INPUTS,
        outputs: TEXT_OUTPUTS,
        handle: (inputs, context) => handle(read(inputs), context),
        ...model,
      },
    ],
  };
}

/** Repeats the prompt or the messages, with the parameters of the call. */
const repeat: Handle = async function* ({ prompt, messages }, { parameters, streaming }) {
  const text = JSON.stringify({ prompt, messages: messages?.map((json) => JSON.parse(json)), parameters });
  const [half, rest] = [text.slice(0, 5), text.slice(5)];
  if (streaming) yield { text: [half] };
  if (streaming) yield { text: [rest] };
  const end = { finish_reason: 'length', prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 };
  yield new HandlerResponse({ text: [streaming ? '' : text] }, end);
};

/** Starts a gateway, and a worker for each backend as a replica. */
async function startFleet(...backends: readonly Backend[]) {
  const gateway = await startTestGateway();
  cleanups.push(() => gateway.close());
  const workers = [];
  for (const [index, backend] of backends.entries()) {
    const worker = await startTestWorker(backend);
    cleanups.push(() => worker.stop());
    await gateway.register(`r${index}`, worker.replica.endpoint);
    workers.push(worker);
  }
  if (backends.length > 0) await gateway.waitForModels('m');
  return { ...gateway, workers };
}

const readJson = async (response: Response): Promise<AnyJson> => response.json();

/** Reads server-sent events: the data of each, parsed unless it is `[DONE]`. */
async function readEvents(response: Response): Promise<AnyJson[]> {
  const events = (await response.text()).split('\n\n').filter((event) => event !== '');
  return events.map((event) => {
    const data = event.replace(/^data: /, '');
    return data === '[DONE]' ? data : JSON.parse(data);
  });
}

describe('a chat with a gRPC replica', () => {
  it('has the messages and parameters of the request, and a response in the form of OpenAI', async () => {
    const { post, finished } = await startFleet(createTextBackend(repeat));
    const body = {
      model: 'm',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'ä' }], extra: 1 }],
      max_completion_tokens: 7,
      temperature: 1,
      top_p: null,
      stop: '[1]',
      seed: 12345678901234567890n.toString(),
      tools: [{ type: 'function' }],
      tool_choice: 'auto',
      stream: false,
    };
    const response = await post(CHAT, body);
    const { id, created, choices, ...rest } = await readJson(response);
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(response.headers.get('x-anyserve-replica')).toBe('r0');
    expect(id).toMatch(/^chatcmpl-[0-9a-f]{32}$/);
    expect(Math.abs(created - Date.now() / 1000)).toBeLessThan(60);
    expect(rest).toEqual({
      object: 'chat.completion',
      model: 'm',
      usage: { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 },
    });
    const [{ message, ...choice }] = choices;
    expect(choice).toEqual({ index: 0, logprobs: null, finish_reason: 'length' });
    expect(message).toEqual({ role: 'assistant', content: expect.any(String), refusal: null });
    expect(JSON.parse(message.content)).toEqual({
      messages: [body.messages],
      parameters: {
        max_tokens: 7,
        temperature: 1,
        stop: '["[1]"]',
        seed: '12345678901234567890',
        tools: '[{"type":"function"}]',
        tool_choice: 'auto',
      },
    });
    await until('the call is logged', () => finished.length > 0);
    expect(finished[0]).toMatchObject({
      path: '/chat/completions',
      model: 'm',
      replicaId: 'r0',
      status: 200,
      attempts: 1,
    });
  });

  it('streams events, with the token counts only if they are asked for', async () => {
    const { post } = await startFleet(createTextBackend(repeat));
    for (const include_usage of [true, false]) {
      const body = { model: 'm', messages: MESSAGES, stream: true, stream_options: { include_usage } };
      const response = await post(CHAT, body);
      expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
      const events = await readEvents(response);
      expect(events.pop()).toBe('[DONE]');
      const { id, created } = events[0];
      const common = { id, created, object: 'chat.completion.chunk', model: 'm' };
      const usage = { prompt_tokens: 2, completion_tokens: 3, total_tokens: 5 };
      if (include_usage) expect(events.pop()).toEqual({ ...common, choices: [], usage });
      const createEvent = (delta: object, finish_reason: string | null = null) => ({
        ...common,
        choices: [{ index: 0, delta, logprobs: null, finish_reason }],
        ...(include_usage && { usage: null }),
      });
      expect(events).toEqual([
        createEvent({ role: 'assistant', content: '' }),
        createEvent({ content: '{"mes' }),
        createEvent({ content: expect.stringMatching(/^sages"/) }),
        createEvent({}, 'length'),
      ]);
    }
  });

  it('has reasoning and tool calls, and characters that are split between messages', async () => {
    const calls = ['a', 'b'].map((id) => ({ id, type: 'function', function: { name: 'f', arguments: '{}' } }));
    const { post } = await startFleet(
      createTextBackend(
        async function* (_inputs, { streaming }) {
          yield { reasoning: ['think'], ...(!streaming && { text: [''], tool_calls: [JSON.stringify(calls)] }) };
          if (!streaming) return;
          yield { text: { datatype: 'BYTES', shape: [1], data: [Buffer.from([0xc3])] } };
          yield { text: { datatype: 'BYTES', shape: [1], data: [Buffer.from([0xa4])] } };
          yield { text: [''], tool_calls: [JSON.stringify(calls)] };
        },
        { outputs: undefined },
      ),
    );
    const whole = await readJson(await post(CHAT, { model: 'm', messages: MESSAGES }));
    expect(whole.choices).toEqual([
      {
        index: 0,
        message: { role: 'assistant', content: null, refusal: null, reasoning_content: 'think', tool_calls: calls },
        logprobs: null,
        finish_reason: 'tool_calls',
      },
    ]);
    expect(whole.usage).toBeUndefined();
    const events = await readEvents(await post(CHAT, { model: 'm', messages: MESSAGES, stream: true }));
    expect(events.pop()).toBe('[DONE]');
    expect(events.map(({ choices: [{ delta }] }) => delta)).toEqual([
      { role: 'assistant', content: '' },
      { reasoning_content: 'think' },
      { content: 'ä' },
      { tool_calls: [{ index: 0, ...calls[0] }] },
      { tool_calls: [{ index: 1, ...calls[1] }] },
      {},
    ]);
    expect(events.at(-1).choices[0].finish_reason).toBe('tool_calls');
  });

  it('goes to an HTTP replica of the model if there is one, and to a gRPC replica if that fails', async () => {
    const { post, register } = await startFleet(createTextBackend(repeat));
    let status = 200;
    const engine = await startHttpEngine((_request, response) => sendJson(response, { from: 'http' }, status));
    cleanups.push(() => engine.close());
    await register('http', engine.url);
    const call = async (): Promise<AnyJson> => readJson(await post(CHAT, { model: 'm', messages: MESSAGES }));
    await until('the HTTP replica is used', async () => (await call()).from === 'http');
    status = 503;
    expect((await call()).object).toBe('chat.completion');
  });

  it.each([
    ['n', 2],
    ['logprobs', true],
    ['functions', [{}]],
    ['stream_options', { include_obfuscation: true }],
    ['messages', []],
    ['max_tokens', 3],
  ])('is a 400 that names %s', async (param, value) => {
    const { post } = await startFleet(createTextBackend(repeat));
    const body = { model: 'm', messages: MESSAGES, max_completion_tokens: 5, [param]: value };
    const response = await post(CHAT, body);
    const { error } = await readJson(response);
    expect([response.status, error.type]).toEqual([400, 'invalid_request_error']);
    expect(error.message).toContain(param);
    expect(error.param).toBe(param === 'max_tokens' ? 'max_completion_tokens' : param);
  });

  it.each([
    ['unimplemented', 400, 'top_k'],
    ['invalid_argument', 400, 'top_k'],
    ['resource_exhausted', 429, null],
    ['internal', 500, null],
    ['unauthenticated', 502, null],
    ['deadline_exceeded', 504, null],
  ] as const)('that fails with %s at the replica is a %d', async (code, status, param) => {
    const { post } = await startFleet(
      createTextBackend(async function* () {
        yield* [];
        throw new AnyserveError(code, 'parameter "top_k" is not supported');
      }),
    );
    for (const stream of [false, true]) {
      const response = await post(CHAT, { model: 'm', messages: MESSAGES, stream });
      expect(response.status).toBe(status);
      const { error } = await readJson(response);
      expect(error.message).toContain('parameter "top_k" is not supported');
      expect([error.code, error.param]).toEqual([code, param]);
    }
  });

  it('is an error if the model returns no text', async () => {
    const { post } = await startFleet(
      createTextBackend(
        async function* () {
          yield { score: [1.5] };
        },
        { outputs: undefined },
      ),
    );
    for (const stream of [false, true]) {
      const response = await post(CHAT, { model: 'm', messages: MESSAGES, stream });
      expect([response.status, (await readJson(response)).error.message]).toEqual([
        500,
        'the replica returned no text; its outputs: "score"',
      ]);
    }
  });
});

describe('a server without metadata and streams', () => {
  it('gets the messages and the trace of the caller, and its response becomes a stream', async () => {
    const received: (string | undefined)[] = [];
    const bare = await startBareServer({
      modelInfer(call: AnyJson, respond: (error: null, response: object) => void) {
        received.push(call.metadata.get('traceparent')[0], call.request.inputs[0].name);
        const outputs = [
          {
            name: 'text',
            datatype: 'BYTES',
            shape: [1n],
            parameters: new Map(),
            contents: { bytesContents: [Buffer.from('ok')] },
          },
        ];
        respond(null, {
          modelName: 'm',
          modelVersion: '',
          id: '',
          parameters: new Map(),
          outputs,
          rawOutputContents: [],
        });
      },
    });
    cleanups.push(() => bare.server.forceShutdown());
    const { register, post, waitForModels } = await startFleet();
    await register('bare', bare.endpoint);
    await waitForModels('m');
    const response = await post(CHAT, { model: 'm', messages: MESSAGES, stream: true }, { traceparent: '00-1-2-01' });
    const events = await readEvents(response);
    expect(events.slice(0, -1).map(({ choices: [{ delta }] }) => delta.content)).toEqual(['', 'ok', undefined]);
    expect(received).toEqual(['00-1-2-01', 'messages']);
  });
});

describe('a slow gRPC replica', () => {
  it('shares its calls with a second one after --hedge-after', async () => {
    let calls = 0;
    const backend = createTextBackend(async function* (...args) {
      const [, { signal }] = args;
      if (calls++ === 0) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      yield* repeat(...args);
    });
    const gateway = await startTestGateway({ hedgeAfterMs: 50 });
    cleanups.push(() => gateway.close());
    for (const id of ['a', 'b']) {
      const worker = await startTestWorker(backend);
      cleanups.push(() => worker.stop());
      await gateway.register(id, worker.replica.endpoint, { model: 'm' }, { model: id });
    }
    await gateway.waitForModels('a', 'b', 'm');
    const response = await gateway.post(CHAT, { model: 'm', messages: MESSAGES });
    expect([response.status, calls]).toEqual([200, 2]);
  });
});

it('the memory of a request is free again when the stream of its response ends', async () => {
  const { post } = await startFleet(
    createTextBackend(async function* (_inputs, { signal }) {
      yield { text: ['first'] };
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
    }),
  );
  // Four of these take most of the 4 MiB of the gateway.
  const body = { model: 'm', stream: true, messages: [{ role: 'user', content: 'x'.repeat(1000 * 1024) }] };
  const open = async (): Promise<Response> => post(CHAT, body);
  const streams = [await open(), await open(), await open(), await open()];
  expect(streams.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  const refused = await open();
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
  await streams.pop()?.body?.cancel();
  await until('there is memory again', async () => {
    const response = await open();
    await response.body?.cancel();
    return response.status === 200;
  });
  await Promise.all(streams.map(({ body: rest }) => rest?.cancel()));
});

describe('a failure of a gRPC replica', () => {
  it('before its first message leads to another replica', async () => {
    let failures = 0;
    const flaky: Handle = async function* (...args) {
      if (failures++ === 0) throw new AnyserveError('unavailable', 'not now');
      yield* repeat(...args);
    };
    for (const stream of [false, true]) {
      failures = 0;
      const { post, finished } = await startFleet(createTextBackend(flaky), createTextBackend(flaky));
      const response = await post(CHAT, { model: 'm', messages: MESSAGES, stream });
      expect([response.status, await response.text()]).toEqual([200, expect.stringContaining('Hi')]);
      await until('the call is logged', () => finished.length > 0);
      expect(finished[0]?.attempts).toBe(2);
    }
  });

  it('after its first message is an event, and the end of the connection', async () => {
    const { gateway, finished } = await startFleet(
      createTextBackend(async function* () {
        yield { text: ['partial'] };
        throw new AnyserveError('internal', 'out of memory');
      }),
    );
    const body = JSON.stringify({ model: 'm', messages: MESSAGES, stream: true });
    // A client of HTTP can drop what it has not read yet when the connection ends.
    const head = `POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`;
    const text = await exchangeBytes(gateway.port, head + body);
    expect(text).toMatch(/^HTTP\/1.1 200 /);
    expect(text.endsWith('0\r\n\r\n')).toBe(false);
    expect(text).toContain('"content":"partial"');
    expect(text).toMatch(
      /\nevent: error\ndata: \{"error":\{"message":"[^\n]*out of memory[^\n]*"code":"incomplete_response"/,
    );
    expect(text).not.toContain('[DONE]');
    await until('the call is logged', () => finished.length > 0);
    // Its text can repeat the prompt.
    expect(finished[0]?.failure).toBe('the last response had the gRPC status INTERNAL');
  });

  it.each([false, true])('is none if the caller leaves (stream: %s), which ends the call', async (stream) => {
    let [begun, ended] = [0, 0];
    const { gateway, finished } = await startFleet(
      createTextBackend(async function* (_inputs, { signal }) {
        begun++;
        if (stream) yield { text: ['first'] };
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
        ended++;
        yield { text: [''] };
      }),
    );
    const caller = new AbortController();
    const call = fetch(`${gateway.url}${CHAT}`, {
      method: 'POST',
      body: JSON.stringify({ model: 'm', messages: MESSAGES, stream }),
      signal: caller.signal,
    });
    if (stream) await (await call).body?.getReader().read();
    else await until('the call has begun', () => begun === 1);
    caller.abort();
    await call.catch(() => {});
    await until('the call of the model ends', () => ended === 1);
    await until('the call is logged', () => finished.length > 0);
    expect(finished[0]).toMatchObject({ status: 499, failure: undefined });
  });
});

describe('a completion', () => {
  it('has the prompt, and is streamed', async () => {
    const { post } = await startFleet(createTextBackend(repeat));
    const body = { model: 'm', prompt: ['Once'], max_tokens: 3, echo: false };
    const whole = await readJson(await post('/v1/completions', body));
    expect(whole).toMatchObject({ object: 'text_completion', model: 'm', usage: { total_tokens: 5 } });
    expect(whole.id).toMatch(/^cmpl-/);
    const [{ text, ...choice }] = whole.choices;
    expect(choice).toEqual({ index: 0, logprobs: null, finish_reason: 'length' });
    expect(JSON.parse(text)).toEqual({ prompt: ['Once'], parameters: { max_tokens: 3 } });
    const events = await readEvents(await post('/v1/completions', { ...body, stream: true }));
    expect(events.pop()).toBe('[DONE]');
    expect(events.map(({ choices }) => choices[0].text).join('')).toBe(text);
    expect(events.map(({ choices }) => choices[0].finish_reason)).toEqual([null, null, 'length']);
  });

  it.each([
    ['prompt', [1, 2]],
    ['prompt', ['a', 'b']],
    ['echo', true],
    ['suffix', 'x'],
    ['logprobs', 0],
    ['best_of', 3],
  ])('is a 400 that names %s', async (param, value) => {
    const { post } = await startFleet(createTextBackend(repeat));
    const response = await post('/v1/completions', { model: 'm', prompt: 'x', [param]: value });
    expect([response.status, (await readJson(response)).error.param]).toEqual([400, param]);
  });
});

describe('a model with the inputs of Triton', () => {
  const bytes = { datatype: 'BYTES', shape: [1] } as const;
  const echoInputs: Handle = async function* (inputs, { parameters }) {
    yield { text_output: [JSON.stringify({ inputs, parameters })] };
  };

  it('gets the only user message as text_input, and the parameters as the inputs that it declares', async () => {
    const { post } = await startFleet(
      createTextBackend(echoInputs, {
        outputs: undefined,
        inputs: [
          { name: 'text_input', ...bytes },
          { name: 'max_tokens', datatype: 'INT32', shape: [1], optional: true },
          { name: 'stop_words', datatype: 'BYTES', shape: [-1], optional: true },
          { name: 'stream', datatype: 'BOOL', shape: [1], optional: true },
          { name: 'sampling_parameters', ...bytes, optional: true },
          { name: 'exclude_input_in_output', datatype: 'BOOL', shape: [1], optional: true },
        ],
      }),
    );
    const body = { model: 'm', messages: MESSAGES, max_tokens: 5, stop: 'x', temperature: 0.5, n: 1 };
    const { choices } = await readJson(await post(CHAT, body));
    expect(JSON.parse(choices[0].message.content)).toEqual({
      inputs: {
        text_input: ['Hi'],
        max_tokens: ['5'],
        stop_words: ['x'],
        stream: ['false'],
        sampling_parameters: ['{"temperature":0.5}'],
        exclude_input_in_output: ['true'],
      },
      parameters: {},
    });
    const refused = await post(CHAT, { ...body, tools: [{}] });
    expect([refused.status, (await readJson(refused)).error.param]).toEqual([400, 'tools']);
    const twoMessages = await post(CHAT, { model: 'm', messages: [{ role: 'system', content: 'x' }, ...MESSAGES] });
    expect([twoMessages.status, (await readJson(twoMessages)).error.param]).toEqual([400, 'messages']);
  });

  it('refuses parameters that it has no input for', async () => {
    const { post } = await startFleet(
      createTextBackend(echoInputs, { outputs: undefined, inputs: [{ name: 'text_input', ...bytes }] }),
    );
    const response = await post('/v1/completions', { model: 'm', prompt: 'x', max_tokens: 5 });
    expect([response.status, (await readJson(response)).error.param]).toEqual([400, 'max_tokens']);
    const neutral = await post('/v1/completions', { model: 'm', prompt: 'x', user: 'u', presence_penalty: 0 });
    expect(neutral.status).toBe(200);
  });
});

describe('a worker in front of an OpenAI-compatible engine', () => {
  it('passes the request on to the engine as the caller wrote it', async () => {
    const upstream = await startUpstream(undefined, ['m']);
    const { post } = await startFleet(await startBackend(upstream));
    const body = {
      messages: [{ role: 'user', content: 'ping' }],
      response_format: { type: 'json_schema', json_schema: { name: 'x', schema: { type: 'object' } } },
      tools: [{ type: 'function', function: { name: 'f' } }],
      tool_choice: { type: 'function', function: { name: 'f' } },
      stop: ['a', '[1]'],
      top_p: 1,
      logit_bias: { 1: 2.5 },
      reasoning_effort: 'low',
    };
    const limited = { model: 'm', ...body, max_completion_tokens: 5 };
    const whole = await readJson(await post(CHAT, limited));
    expect(whole.choices[0]).toMatchObject({ message: { content: 'ping' }, finish_reason: 'stop' });
    expect(upstream.requests.at(-1)?.body).toEqual(limited);
    await post(CHAT, { model: 'm', ...body, max_tokens: 5 });
    expect(upstream.requests.at(-1)?.body).toEqual({ model: 'm', ...body, max_tokens: 5 });
    const events = await readEvents(await post(CHAT, { model: 'm', ...body, stream: true }));
    expect(events.at(-1)).toBe('[DONE]');
    expect(upstream.requests.at(-1)?.body).toMatchObject({ ...body, stream: true });
  });

  it('returns the error of the engine', async () => {
    const upstream = await startUpstream(
      ({ path }, response) => {
        if (path !== '/v1/chat/completions') return undefined;
        sendJson(response, { error: { message: 'parameter "top_k" is wrong', type: 'invalid_request_error' } }, 400);
        return true;
      },
      ['m'],
    );
    const { post } = await startFleet(await startBackend(upstream));
    const response = await post(CHAT, { model: 'm', messages: MESSAGES, top_k: -5 });
    const { error } = await readJson(response);
    expect([response.status, error.param, error.type]).toEqual([400, 'top_k', 'invalid_request_error']);
  });
});

describe('embeddings', () => {
  const embed = (): App =>
    new App().capability(
      { type: 'embed', model: 'm' },
      { inputs: { input: 'BYTES[-1]' }, outputs: { embedding: 'FP32[-1,2]' } },
      ({ input }, { parameters }) => {
        if (parameters['dimensions'] !== undefined)
          throw new AnyserveError('unimplemented', 'parameter "dimensions" is not supported');
        const data = Float32Array.from(tensorToTexts(input).flatMap((text) => [text.length, 0.1]));
        const outputs = { embedding: { datatype: 'FP32', shape: [data.length / 2, 2], data } as const };
        return new HandlerResponse(outputs, { prompt_tokens: 4, total_tokens: 4 });
      },
    );

  it('have one vector for each text, as numbers or in base64', async () => {
    const { post } = await startFleet(embed());
    const numbers = await readJson(await post('/v1/embeddings', { model: 'm', input: ['a', 'bc'] }));
    expect(numbers).toEqual({
      object: 'list',
      model: 'm',
      data: [
        { object: 'embedding', index: 0, embedding: [1, Math.fround(0.1)] },
        { object: 'embedding', index: 1, embedding: [2, Math.fround(0.1)] },
      ],
      usage: { prompt_tokens: 4, total_tokens: 4 },
    });
    const body = { model: 'm', input: 'abc', encoding_format: 'base64' };
    const { data } = await readJson(await post('/v1/embeddings', body));
    const bytes = Buffer.from(data[0].embedding, 'base64');
    expect([bytes.readFloatLE(0), bytes.readFloatLE(4)]).toEqual([3, Math.fround(0.1)]);
  });

  it.each([
    ['input', [1, 2]],
    ['input', []],
    ['encoding_format', 'int8'],
    ['dimensions', 8],
  ])('are a 400 that names %s', async (param, value) => {
    const { post } = await startFleet(embed());
    const response = await post('/v1/embeddings', { model: 'm', input: 'x', [param]: value });
    expect([response.status, (await readJson(response)).error.param]).toEqual([400, param]);
  });
});

describe('other requests for a model of gRPC replicas', () => {
  it('are refused if their path is not translated', async () => {
    const { post } = await startFleet(createTextBackend(repeat));
    const response = await post('/v1/responses', { model: 'm', input: 'x' });
    expect([response.status, (await readJson(response)).error]).toEqual([
      400,
      expect.objectContaining({ code: 'unsupported_path', message: expect.stringContaining('"m" speak gRPC') }),
    ]);
  });

  it('of an unknown model are a 404', async () => {
    const { post } = await startFleet(createTextBackend(repeat));
    const response = await post(CHAT, { model: 'mm', messages: MESSAGES });
    expect([response.status, (await readJson(response)).error.message]).toEqual([
      404,
      'no replica offers the model "mm"',
    ]);
  });

  it('do not connect to addresses that are not allowed', async () => {
    const gateway = await startTestGateway({ upstreamNetworks: ['10.0.0.0/8'] });
    cleanups.push(() => gateway.close());
    const worker = await startTestWorker(createTextBackend(repeat));
    cleanups.push(() => worker.stop());
    await gateway.register('r', worker.replica.endpoint.replace('127.0.0.1', 'localhost'));
    await gateway.waitForModels('m');
    const response = await gateway.post(CHAT, { model: 'm', messages: MESSAGES });
    expect([response.status, (await readJson(response)).error.message]).toEqual([
      503,
      expect.stringMatching(/: localhost resolves to .*, and connections there are not allowed/),
    ]);
  });
});
