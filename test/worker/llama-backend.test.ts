import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { InferOptions } from '../../src/client/client-options.js';
import type { InferenceResponse, TensorValue } from '../../src/inference/inference-data.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import { clock, random } from '../../src/system.js';
import { createLlamaBackend, type LlamaBackendOptions } from '../../src/worker/llama-backend.js';
import { createRecordingLog } from '../support/replicas.js';
import { writeTinyModel } from '../support/tiny-model.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-llama-'));
const toPath = (name: string): string => join(folder, `${name}.gguf`);

/** The texts of the tiny models: one with an end, one without, and one that ends with half a character. */
const SAYS = [
  [
    'x',
    '▁Gr',
    '<0xC3>',
    '<0xBC>',
    'ße',
    '▁from',
    '▁a',
    '<0x20>',
    '<0xF0>',
    '<0x9F>',
    '<0x98>',
    '<0x80>',
    '▁mod',
    'el',
    '</s>',
  ],
  ['y', '▁on', '▁and', '▁on'],
  ['z', '▁half', '<0xE2>', '<0x82>', '</s>'],
];
/** More tokens than a model can generate within the duration of a test. */
const ENDLESS = 131_072;
const SAYS_OF_X = ' Grüße from a 😀 model';

const TEMPLATE =
  "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('the user speaks first') }}{% endif %}" +
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '</s>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

beforeAll(() => {
  writeTinyModel(toPath('random'));
  writeTinyModel(toPath('says'), { rows: SAYS });
  writeTinyModel(toPath('endless'), { rows: SAYS, contextLength: ENDLESS });
  const responses = [['<|assistant|>', '▁Hi', '▁there', '</s>'], ['<|system|>'], ['<|user|>']];
  writeTinyModel(toPath('chat'), { rows: responses, chatTemplate: TEMPLATE });
});

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(async () => {
  for (const getSharedServing of sharedServings.values()) await (await getSharedServing).stop();
  rmSync(folder, { recursive: true });
});

function createBackend(name: string, options: Partial<LlamaBackendOptions> = {}) {
  const base = {
    path: toPath(name),
    embeddings: false,
    threads: 1,
    capabilities: [],
    log: createRecordingLog(),
    clock,
    random,
  };
  return createLlamaBackend({ ...base, ...options });
}

/** Starts a worker with this model, and a client that calls it. */
async function startServing(name: string, options: Partial<LlamaBackendOptions> = {}) {
  const worker = await startTestWorker(await createBackend(name, options));
  const client = new InferenceClient({ endpoint: worker.replica.endpoint }, { clock, random });
  const type = options.embeddings ? 'embed' : 'chat';
  return {
    worker,
    async stop(): Promise<void> {
      await client.close();
      await worker.stop();
    },
    call: (inputs: Record<string, TensorValue>, parameters: InferOptions['parameters'] = {}, more: InferOptions = {}) =>
      client.infer(type, inputs, { parameters, ...more }),
    stream: (prompt: string, parameters: InferOptions['parameters'] = {}) =>
      client.inferStream(type, { prompt: [prompt] }, { parameters }),
  };
}

const sharedServings = new Map<string, Promise<Serving>>();

/** Returns a worker that tests share when they need no separate one, because loading takes time. */
async function getSharedServing(name: string, options: Partial<LlamaBackendOptions> = {}): Promise<Serving> {
  const key = JSON.stringify([name, options]);
  const there = sharedServings.get(key) ?? startServing(name, options);
  sharedServings.set(key, there);
  return there;
}

/** Starts a separate worker for one test. */
async function startOwnServing(name: string, options: Partial<LlamaBackendOptions>): Promise<Serving> {
  const served = await startServing(name, options);
  cleanups.push(() => served.stop());
  return served;
}

type Serving = Awaited<ReturnType<typeof startServing>>;

function readText({ outputs }: InferenceResponse): string {
  return outputs['text'] ? tensorToTexts(outputs['text']).join('') : '';
}

/** Returns the pieces of a streamed response, and its final parameters. */
async function collectStream({ stream }: Serving, prompt: string, parameters: InferOptions['parameters'] = {}) {
  const messages: InferenceResponse[] = [];
  for await (const message of stream(prompt, parameters)) messages.push(message);
  return { pieces: messages.map(readText), parameters: { ...messages.at(-1)?.parameters } };
}

const GREEDY = { temperature: 0 };

const createSchemaFormat = (schema: object): string =>
  JSON.stringify({ type: 'json_schema', json_schema: { name: 'x', schema } });

describe('a language model in the worker', () => {
  it('is called by its file name or by its given name, and describes its inputs and outputs', async () => {
    const chat = await createBackend('says');
    cleanups.push(() => chat.close?.());
    expect(chat.models).toMatchObject([
      {
        name: 'says',
        platform: 'llama.cpp',
        capabilities: [{ source: '{"type":"chat","model":"says"}' }],
        inputs: [{ name: 'prompt' }, { name: 'messages' }],
        outputs: [{ name: 'text' }],
      },
    ]);
    const named = await createBackend('says', { name: 'tiny', embeddings: true });
    cleanups.push(() => named.close?.());
    expect(named.models[0]?.capabilities).toMatchObject([{ source: '{"type":"embed","model":"tiny"}' }]);
  });

  it('streams pieces of complete characters that add up to the whole text', async () => {
    const served = await getSharedServing('says');
    const whole = await served.call({ prompt: ['x'] }, GREEDY);
    const { pieces, parameters } = await collectStream(served, 'x', GREEDY);
    expect(readText(whole)).toBe(SAYS_OF_X);
    expect(pieces).toEqual([' Gr', 'ü', 'ße', ' from', ' a', ' ', '😀', ' mod', 'el', '']);
    expect(parameters).toEqual({ finish_reason: 'stop', prompt_tokens: 3, completion_tokens: 14, total_tokens: 17 });
    expect({ ...whole.parameters }).toEqual(parameters);
  });

  it('sends the rest of an incomplete character at the end', async () => {
    const { pieces } = await collectStream(await getSharedServing('says'), 'z', GREEDY);
    expect(pieces.join('')).toBe(' half\uFFFD');
  });

  it('generates the same text for the same seed, even when streaming', async () => {
    const served = await getSharedServing('random');
    const generate = async (seed: number) =>
      readText(await served.call({ prompt: ['hello'] }, { seed, temperature: 1, max_tokens: 60 }));
    const [first, ...others] = [await generate(1), await generate(1), await generate(1)];
    expect(others).toEqual([first, first]);
    expect(await generate(2)).not.toBe(first);
    const { pieces } = await collectStream(served, 'hello', { seed: 1, temperature: 1, max_tokens: 60 });
    expect(pieces.join('')).toBe(first);
  });

  it('generates different texts when there is no seed', async () => {
    const { call } = await getSharedServing('random');
    const texts = [await call({ prompt: ['hello'] }), await call({ prompt: ['hello'] })].map(readText);
    expect(texts[0]).not.toBe(texts[1]);
  });

  it.each<[string, InferOptions['parameters'] & object, string, object]>([
    ['a stop text', { stop: ' mo' }, ' Grüße from a 😀', { finish_reason: 'stop', completion_tokens: 12 }],
    ['the first of several', { stop: '["el","from"]' }, ' Grüße ', { finish_reason: 'stop', completion_tokens: 5 }],
    ['one that does not occur', { stop: 'model!' }, SAYS_OF_X, { finish_reason: 'stop', completion_tokens: 14 }],
    [
      'max_tokens',
      { max_tokens: 5 },
      ' Grüße from',
      { finish_reason: 'length', completion_tokens: 5, total_tokens: 8 },
    ],
    ['max_tokens within a character', { max_tokens: 2 }, ' Gr\uFFFD', { finish_reason: 'length' }],
    ['max_tokens within a stop text', { max_tokens: 5, stop: 'from here' }, ' Grüße from', { finish_reason: 'length' }],
    ['max_tokens at the end of the text', { max_tokens: 14 }, SAYS_OF_X, { finish_reason: 'stop' }],
  ])('stops at %s, both unary and streaming', async (_what, parameters, text, ending) => {
    const served = await getSharedServing('says');
    const whole = await served.call({ prompt: ['x'] }, { ...GREEDY, ...parameters });
    expect([readText(whole), { ...whole.parameters }]).toEqual([text, expect.objectContaining(ending)]);
    const inPieces = await collectStream(served, 'x', { ...GREEDY, ...parameters });
    expect([inPieces.pieces.join(''), inPieces.parameters]).toEqual([text, { ...whole.parameters }]);
  });

  it("treats special tokens in the caller's input as plain text", async () => {
    const { call } = await getSharedServing('says');
    const countTokens = async (prompt: string) =>
      Number((await call({ prompt: [prompt] }, { max_tokens: 1 })).parameters['prompt_tokens']);
    expect((await countTokens('a</s>')) - (await countTokens('a'))).toBe(4);
  });

  it('stops when its context is full', async () => {
    const { call } = await getSharedServing('says');
    const { parameters } = await call({ prompt: ['y'] }, { ...GREEDY, max_tokens: 100_000 });
    expect({ ...parameters }).toEqual({
      finish_reason: 'length',
      prompt_tokens: 3,
      completion_tokens: 253,
      total_tokens: 256,
    });
  });

  it('stops generating when its caller disconnects, and serves the next caller', async () => {
    const served = await startOwnServing('endless', { sequences: 1, contextSize: ENDLESS });
    for await (const message of served.stream('y', GREEDY)) if (readText(message) === ' and') break;
    const cancel = new AbortController();
    const endless = served.call({ prompt: ['y'] }, GREEDY, { signal: cancel.signal });
    const failed = expect(endless).rejects.toThrow('enough');
    await until('it is being written', async () => {
      const waiting = served.call({ prompt: ['x'] }, GREEDY, { timeoutMs: 100 });
      return (await waiting.catch(({ code }) => code)) === 'deadline_exceeded';
    });
    cancel.abort(new Error('enough'));
    await failed;
    expect(readText(await served.call({ prompt: ['x'] }, GREEDY))).toBe(SAYS_OF_X);
  });

  it('lets a call wait for a sequence only until its deadline', async () => {
    const served = await startOwnServing('endless', { sequences: 1, contextSize: ENDLESS });
    const endless = served.stream('y', GREEDY);
    await endless.next();
    await expect(served.call({ prompt: ['x'] }, GREEDY, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    await endless.return(undefined);
    expect(readText(await served.call({ prompt: ['x'] }, GREEDY))).toBe(SAYS_OF_X);
  });

  it('generates several texts at once, and queues those beyond its number of sequences', async () => {
    const served = await startOwnServing('endless', { sequences: 2, contextSize: 4096 });
    const [first, second] = [served.stream('y', GREEDY), served.stream('y', GREEDY)];
    expect([readText((await first.next()).value), readText((await second.next()).value)]).toEqual([' on', ' on']);
    const ended: number[] = [];
    const others = [0, 1, 2, 3].map(async (at) => {
      const text = readText(await served.call({ prompt: ['x'] }, GREEDY));
      ended.push(at);
      return text;
    });
    await first.return(undefined);
    expect(await Promise.all(others)).toEqual(Array(4).fill(SAYS_OF_X));
    expect(ended).toEqual([0, 1, 2, 3]);
    await second.return(undefined);
  });

  it('can be closed during a generation', async () => {
    const { worker, stream } = await startOwnServing('endless', { contextSize: ENDLESS });
    const endless = stream('y', GREEDY);
    await endless.next();
    const rest = (async () => {
      for await (const _part of endless);
    })();
    const failed = expect(rest).rejects.toMatchObject({ code: expect.stringMatching(/cancelled|unavailable/) });
    await Promise.all([worker.stop(), worker.stop()]);
    await failed;
    expect(worker.log.lines).toEqual([]);
  });

  it.each<[string, Record<string, TensorValue>, InferOptions['parameters'] & object, string]>([
    ['no input', {}, {}, 'input "prompt" is missing'],
    [
      'a prompt that does not fit',
      { prompt: ['a'.repeat(300)] },
      {},
      'input "prompt": it has 301 tokens, but the maximum is 255; shorten it',
    ],
    ['a temperature below 0', { prompt: ['x'] }, { temperature: -1 }, 'parameter "temperature" is -1'],
  ])('rejects %s', async (_what, inputs, parameters, words) => {
    const { call } = await getSharedServing('says');
    await expect(call(inputs, parameters)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(words),
    });
  });

  it('leaves messages to other replicas when it has no chat template', async () => {
    const { call } = await getSharedServing('says');
    await expect(call({ messages: ['[{"role":"user","content":"a"}]'] })).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining('has no chat template'),
    });
  });

  it.each<[NonNullable<InferOptions['parameters']>, string]>([
    [{ top_k: 1 }, 'parameter "top_k" is not supported by this model; supported: temperature'],
    [{ n: 2 }, 'parameter "n" is 2, which'],
    [{ logprobs: true }, 'parameter "logprobs" is true, which'],
    [{ tools: '[{"type":"function"}]' }, 'parameter "tools" is "['],
    [{ response_format: '{"type":"grammar"}' }, 'parameter "response_format" has the type "grammar"'],
    [{ response_format: createSchemaFormat({ type: 'string', pattern: 'x' }) }, 'the schema has "pattern"'],
  ])('leaves requests that it does not support to other replicas: %s', async (parameters, words) => {
    const { call } = await getSharedServing('says');
    await expect(call({ prompt: ['x'] }, parameters)).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining(words),
    });
  });

  it('accepts parameters that have no effect, and max_completion_tokens for max_tokens', async () => {
    const { call } = await getSharedServing('says');
    const neutral = { user: 'me', n: 1, logprobs: false, tools: '[]' };
    const response = await call({ prompt: ['x'] }, { ...GREEDY, ...neutral, max_completion_tokens: 2 });
    expect(response.parameters['completion_tokens']).toBe(2);
  });
});

describe('a response format', () => {
  it.each<[string, string, (text: string) => unknown]>([
    ['an object', '{"type":"json_object"}', (text) => JSON.parse(text)],
    [
      'a schema',
      createSchemaFormat({
        type: 'object',
        properties: { kind: { enum: ['a', 'b'] }, ok: { $ref: '#/$defs/ok' }, list: { anyOf: [{ type: 'null' }] } },
        required: ['kind', 'ok', 'list'],
        additionalProperties: false,
        $defs: { ok: { type: 'boolean', description: 'x' } },
      }),
      (text) => JSON.parse(text),
    ],
  ])('of %s makes the model end a text that is valid JSON', async (_what, format, parse) => {
    const served = await getSharedServing('random');
    let ended = 0;
    for (const seed of [1, 2, 3, 4]) {
      const parameters = { response_format: format, seed, temperature: 1 };
      const whole = await served.call({ prompt: ['hello'] }, parameters);
      const text = readText(whole);
      // A string of random letters can fill the context.
      if (whole.parameters['finish_reason'] === 'length') continue;
      ended++;
      expect(parse(text)).toEqual(expect.any(Object));
      expect(text).toBe(text.trim());
      const { pieces } = await collectStream(served, 'hello', parameters);
      expect(pieces.join('')).toBe(text);
    }
    expect(ended).toBeGreaterThan(0);
  });

  it('has the members of the schema, in its order', async () => {
    const { call } = await getSharedServing('random');
    const schema = { type: 'object', properties: { b: { enum: [1, 2] }, a: { type: 'boolean' } }, required: ['a'] };
    const response = await call({ prompt: ['hello'] }, { response_format: createSchemaFormat(schema), seed: 1 });
    expect(readText(response).replace(/\s/g, '')).toMatch(/^\{"b":[12],"a":(?:true|false)\}$/);
    expect(response.parameters['finish_reason']).toBe('stop');
  });

  it.each([
    ['{', 'is not a JSON object'],
    ['{"type":"json_schema"}', 'has no "json_schema" with a "schema"'],
  ])('that is %s is refused', async (format, words) => {
    const { call } = await getSharedServing('says');
    await expect(call({ prompt: ['x'] }, { response_format: format })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(words),
    });
  });

  it('whose grammar llama.cpp refuses is left to other replicas', async () => {
    const { call } = await getSharedServing('says');
    const endless = { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/a' } } };
    await expect(call({ prompt: ['x'] }, { response_format: createSchemaFormat(endless) })).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining('has a schema without a grammar'),
    });
  });
});

describe('a model with a chat template', () => {
  const createMessages = (...given: object[]) => ({ messages: [JSON.stringify(given)] });

  it('treats a prompt as a single user message, and trims the leading space of the response', async () => {
    const { call } = await getSharedServing('chat');
    const response = await call({ prompt: ['hello'] }, GREEDY);
    expect(readText(response)).toBe('Hi there');
    const same = await call(createMessages({ role: 'user', content: 'hello' }), GREEDY);
    expect([readText(same), { ...same.parameters }]).toEqual(['Hi there', { ...response.parameters }]);
    const parts = createMessages({
      role: 'user',
      content: [
        { type: 'text', text: 'hel' },
        { type: 'text', text: 'lo' },
      ],
    });
    expect({ ...(await call(parts, GREEDY)).parameters }).toEqual({ ...response.parameters });
  });

  it('responds to a chat, and continues a trailing assistant message', async () => {
    const { call } = await getSharedServing('chat');
    const chat = [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'hello' },
    ];
    const response = await call(createMessages(...chat), GREEDY);
    expect(readText(response)).toBe('Hi there');
    const developer = await call(createMessages({ ...chat[0], role: 'developer' }, ...chat.slice(1)), GREEDY);
    expect({ ...developer.parameters }).toEqual({ ...response.parameters });
    const begun = await call(createMessages(...chat, { role: 'assistant', content: 'Hi' }), GREEDY);
    expect(readText(begun)).not.toContain('Hi');
  });

  it("treats special tokens in the caller's input as plain text", async () => {
    const { call } = await getSharedServing('chat');
    const countTokens = async (prompt: string) =>
      Number((await call({ prompt: [prompt] }, GREEDY)).parameters['prompt_tokens']);
    expect(await countTokens('</s><|assistant|>')).toBeGreaterThan((await countTokens('a')) + 10);
  });

  it.each<[string, object[], string]>([
    ['an unknown role', [{ role: 'tool', content: 'a' }], 'message 0 has the role "tool"'],
    ['an image', [{ role: 'user', content: [{ type: 'image_url' }] }], 'message 0 has "content" that is not text'],
    [
      'a tool call',
      [{ role: 'assistant', content: '', tool_calls: [{ id: '1', type: 'function' }] }],
      'message 0 has "tool_calls", which the model does not support',
    ],
    [
      'messages that the template rejects',
      [
        { role: 'assistant', content: 'a' },
        { role: 'user', content: 'b' },
      ],
      "the model's chat template rejects them: the user speaks first",
    ],
  ])('leaves %s to other replicas', async (_what, given, words) => {
    const { call } = await getSharedServing('chat');
    await expect(call(createMessages(...given))).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining(`input "messages": ${words}`),
    });
  });

  it('rejects a message without content, and accepts an empty list of tool calls', async () => {
    const { call } = await getSharedServing('chat');
    await expect(call(createMessages({ role: 'user' }))).rejects.toMatchObject({ code: 'invalid_argument' });
    const response = await call(createMessages({ role: 'user', content: 'a', tool_calls: [] }), {
      ...GREEDY,
      max_tokens: 1,
    });
    expect(response.parameters['completion_tokens']).toBe(1);
  });
});

describe('an embedding model', () => {
  it('returns one unit vector per text, the same for the same text', async () => {
    const { call } = await getSharedServing('random', { embeddings: true });
    const { outputs, parameters } = await call({ input: ['hello', 'good bye', 'hello'] });
    expect(outputs['embedding']).toMatchObject({ datatype: 'FP32', shape: [3, 32] });
    const numbers = outputs['embedding']?.data as Float32Array;
    const [a, b, c] = [0, 1, 2].map((at) => [...numbers.subarray(at * 32, at * 32 + 32)]);
    expect(c).toEqual(a);
    expect(b).not.toEqual(a);
    expect(Math.hypot(...(b as number[]))).toBeCloseTo(1, 5);
    expect({ ...parameters }).toEqual({ prompt_tokens: 24, total_tokens: 24 });
  });

  it.each<[string, string[], InferOptions['parameters'] & object, string]>([
    ['no text', [], {}, 'input "input" has no text'],
    [
      'a text that does not fit',
      ['a', 'b'.repeat(300)],
      {},
      'input "input", text 1: it has 301 tokens, but the maximum is 255',
    ],
  ])('rejects %s', async (_what, texts, parameters, words) => {
    const { call } = await getSharedServing('random', { embeddings: true });
    const data = texts.map((text) => new TextEncoder().encode(text));
    await expect(call({ input: { datatype: 'BYTES', shape: [data.length], data } }, parameters)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(words),
    });
  });

  it('accepts a parameter that is only for records, and leaves others to other replicas', async () => {
    const { call } = await getSharedServing('random', { embeddings: true });
    expect((await call({ input: ['a'] }, { user: 'me' })).outputs['embedding']?.shape).toEqual([1, 32]);
    await expect(call({ input: ['a'] }, { temperature: 1 })).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining('parameter "temperature" is not supported by this model; supported: none'),
    });
  });
});

describe('a model file', () => {
  it.each<[string, () => Uint8Array | string, string]>([
    ['of another format', () => 'hello', 'Invalid GGUF magic'],
    ['that is empty', () => '', 'Invalid GGUF magic'],
    ['that is truncated', () => readFileSync(toPath('random')).subarray(0, 100_000), 'Failed to load model'],
    ['that is truncated early', () => readFileSync(toPath('random')).subarray(0, 5000), 'Failed to load model'],
  ])('%s is rejected with a one-line message', async (_what, contents, words) => {
    writeFileSync(toPath('broken'), contents());
    await expect(createBackend('broken')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(new RegExp(`^cannot load .*broken\\.gguf: .*${words}.*$`)),
    });
  });

  it('is rejected if it does not exist', async () => {
    await expect(createBackend('nowhere')).rejects.toMatchObject({
      code: 'usage',
      message: `file not found: ${toPath('nowhere')}`,
    });
    await expect(createBackend('..', { path: folder })).rejects.toMatchObject({ code: 'usage' });
  });
});
