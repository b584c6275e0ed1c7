import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { InferenceClient } from '../../src/client/client.js';
import type { InferOptions } from '../../src/client/client-options.js';
import type { InferenceResponse } from '../../src/inference/inference-data.js';
import { tensorToTexts } from '../../src/inference/tensor-json.js';
import type { TensorValue } from '../../src/inference/tensor-value.js';
import { clock, random } from '../../src/system.js';
import { createLlamaBackend, type LlamaBackendOptions } from '../../src/worker/llama-backend.js';
import { keptLog } from '../support/replicas.js';
import { writeTinyModel } from '../support/tiny-model.js';
import { until } from '../support/until.js';
import { startTestWorker } from '../support/worker.js';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-llama-'));
const file = (name: string): string => join(folder, `${name}.gguf`);

/** What the tiny models say: one text, one that never ends, and one that ends with half a character. */
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
/** More tokens than come in the time that a test has. */
const ENDLESS = 131_072;
const SAYS_OF_X = ' Grüße from a 😀 model';

const TEMPLATE =
  "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('the user speaks first') }}{% endif %}" +
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '</s>' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

beforeAll(() => {
  writeTinyModel(file('random'));
  writeTinyModel(file('says'), { rows: SAYS });
  writeTinyModel(file('endless'), { rows: SAYS, contextLength: ENDLESS });
  const answers = [['<|assistant|>', '▁Hi', '▁there', '</s>'], ['<|system|>'], ['<|user|>']];
  writeTinyModel(file('chat'), { rows: answers, chatTemplate: TEMPLATE });
});

const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

afterAll(async () => {
  for (const shared of sharedServings.values()) await (await shared).stop();
  rmSync(folder, { recursive: true });
});

function backend(name: string, options: Partial<LlamaBackendOptions> = {}) {
  const base = { path: file(name), embeddings: false, threads: 1, capabilities: [], log: keptLog(), clock, random };
  return createLlamaBackend({ ...base, ...options });
}

/** A worker with such a model, and a client that calls it. */
async function serving(name: string, options: Partial<LlamaBackendOptions> = {}) {
  const worker = await startTestWorker(await backend(name, options));
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

/** One for all tests that have no wish of their own; loading takes its time. */
async function shared(name: string, options: Partial<LlamaBackendOptions> = {}): Promise<Serving> {
  const key = JSON.stringify([name, options]);
  const there = sharedServings.get(key) ?? serving(name, options);
  sharedServings.set(key, there);
  return there;
}

/** One for a test alone. */
async function own(name: string, options: Partial<LlamaBackendOptions>): Promise<Serving> {
  const served = await serving(name, options);
  cleanups.push(() => served.stop());
  return served;
}

type Serving = Awaited<ReturnType<typeof serving>>;

function textOf({ outputs }: InferenceResponse): string {
  return outputs['text'] ? tensorToTexts(outputs['text']).join('') : '';
}

/** The pieces of a streamed answer, and how it ended. */
async function streamed({ stream }: Serving, prompt: string, parameters: InferOptions['parameters'] = {}) {
  const parts: InferenceResponse[] = [];
  for await (const part of stream(prompt, parameters)) parts.push(part);
  return { pieces: parts.map(textOf), parameters: { ...parts.at(-1)?.parameters } };
}

const GREEDY = { temperature: 0 };

describe('a language model in the worker', () => {
  it('is called by its file or as it is told, and says what it takes', async () => {
    const chat = await backend('says');
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
    const named = await backend('says', { name: 'tiny', embeddings: true });
    cleanups.push(() => named.close?.());
    expect(named.models[0]?.capabilities).toMatchObject([{ source: '{"type":"embed","model":"tiny"}' }]);
  });

  it('streams pieces of whole characters that are the whole text together', async () => {
    const served = await shared('says');
    const whole = await served.call({ prompt: ['x'] }, GREEDY);
    const { pieces, parameters } = await streamed(served, 'x', GREEDY);
    expect(textOf(whole)).toBe(SAYS_OF_X);
    expect(pieces).toEqual([' Gr', 'ü', 'ße', ' from', ' a', ' ', '😀', ' mod', 'el', '']);
    expect(parameters).toEqual({ finish_reason: 'stop', prompt_tokens: 3, completion_tokens: 14, total_tokens: 17 });
    expect({ ...whole.parameters }).toEqual(parameters);
  });

  it('gives what is left of a character when no more of it comes', async () => {
    const { pieces } = await streamed(await shared('says'), 'z', GREEDY);
    expect(pieces.join('')).toBe(' half\uFFFD');
  });

  it('writes the same for the same seed, and streams the same', async () => {
    const served = await shared('random');
    const write = async (seed: number) =>
      textOf(await served.call({ prompt: ['hello'] }, { seed, temperature: 1, max_tokens: 60 }));
    const [first, ...others] = [await write(1), await write(1), await write(1)];
    expect(others).toEqual([first, first]);
    expect(await write(2)).not.toBe(first);
    const { pieces } = await streamed(served, 'hello', { seed: 1, temperature: 1, max_tokens: 60 });
    expect(pieces.join('')).toBe(first);
  });

  it('writes something else each time when there is no seed', async () => {
    const { call } = await shared('random');
    const texts = [await call({ prompt: ['hello'] }), await call({ prompt: ['hello'] })].map(textOf);
    expect(texts[0]).not.toBe(texts[1]);
  });

  it.each<[string, InferOptions['parameters'] & object, string, object]>([
    ['a stop text', { stop: ' mo' }, ' Grüße from a 😀', { finish_reason: 'stop', completion_tokens: 12 }],
    ['the first of several', { stop: '["el","from"]' }, ' Grüße ', { finish_reason: 'stop', completion_tokens: 5 }],
    ['one that does not come', { stop: 'model!' }, SAYS_OF_X, { finish_reason: 'stop', completion_tokens: 14 }],
    [
      'max_tokens',
      { max_tokens: 5 },
      ' Grüße from',
      { finish_reason: 'length', completion_tokens: 5, total_tokens: 8 },
    ],
    ['max_tokens within a character', { max_tokens: 2 }, ' Gr\uFFFD', { finish_reason: 'length' }],
    ['max_tokens within a stop text', { max_tokens: 5, stop: 'from here' }, ' Grüße from', { finish_reason: 'length' }],
    ['max_tokens where it would end anyway', { max_tokens: 14 }, SAYS_OF_X, { finish_reason: 'stop' }],
  ])('ends at %s, whole and streamed', async (_what, parameters, text, ending) => {
    const served = await shared('says');
    const whole = await served.call({ prompt: ['x'] }, { ...GREEDY, ...parameters });
    expect([textOf(whole), { ...whole.parameters }]).toEqual([text, expect.objectContaining(ending)]);
    const inPieces = await streamed(served, 'x', { ...GREEDY, ...parameters });
    expect([inPieces.pieces.join(''), inPieces.parameters]).toEqual([text, { ...whole.parameters }]);
  });

  it('takes special tokens that a caller spells out for text', async () => {
    const { call } = await shared('says');
    const count = async (prompt: string) =>
      Number((await call({ prompt: [prompt] }, { max_tokens: 1 })).parameters['prompt_tokens']);
    expect((await count('a</s>')) - (await count('a'))).toBe(4);
  });

  it('ends when its context is full', async () => {
    const { call } = await shared('says');
    const { parameters } = await call({ prompt: ['y'] }, { ...GREEDY, max_tokens: 100_000 });
    expect({ ...parameters }).toEqual({
      finish_reason: 'length',
      prompt_tokens: 3,
      completion_tokens: 253,
      total_tokens: 256,
    });
  });

  it('stops writing when its caller goes, and writes for the next one', async () => {
    const served = await own('endless', { sequences: 1, contextSize: ENDLESS });
    for await (const part of served.stream('y', GREEDY)) if (textOf(part) === ' and') break;
    const cancel = new AbortController();
    const endless = served.call({ prompt: ['y'] }, GREEDY, { signal: cancel.signal });
    const failed = expect(endless).rejects.toThrow('enough');
    await until('it is being written', async () => {
      const waiting = served.call({ prompt: ['x'] }, GREEDY, { timeoutMs: 100 });
      return (await waiting.catch(({ code }) => code)) === 'deadline_exceeded';
    });
    cancel.abort(new Error('enough'));
    await failed;
    expect(textOf(await served.call({ prompt: ['x'] }, GREEDY))).toBe(SAYS_OF_X);
  });

  it('lets calls wait for a sequence no longer than they like', async () => {
    const served = await own('endless', { sequences: 1, contextSize: ENDLESS });
    const endless = served.stream('y', GREEDY);
    await endless.next();
    await expect(served.call({ prompt: ['x'] }, GREEDY, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'deadline_exceeded',
    });
    await endless.return(undefined);
    expect(textOf(await served.call({ prompt: ['x'] }, GREEDY))).toBe(SAYS_OF_X);
  });

  it('writes several texts at once, and more than it has sequences one after the other', async () => {
    const served = await own('endless', { sequences: 2, contextSize: 4096 });
    const [first, second] = [served.stream('y', GREEDY), served.stream('y', GREEDY)];
    expect([textOf((await first.next()).value), textOf((await second.next()).value)]).toEqual([' on', ' on']);
    const ended: number[] = [];
    const others = [0, 1, 2, 3].map(async (at) => {
      const text = textOf(await served.call({ prompt: ['x'] }, GREEDY));
      ended.push(at);
      return text;
    });
    await first.return(undefined);
    expect(await Promise.all(others)).toEqual(Array(4).fill(SAYS_OF_X));
    expect(ended).toEqual([0, 1, 2, 3]);
    await second.return(undefined);
  });

  it('can be let go of in the middle of a text', async () => {
    const { worker, stream } = await own('endless', { contextSize: ENDLESS });
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
  ])('refuses %s', async (_what, inputs, parameters, words) => {
    const { call } = await shared('says');
    await expect(call(inputs, parameters)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(words),
    });
  });

  it('leaves messages to other replicas when it has no chat template', async () => {
    const { call } = await shared('says');
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
    [{ response_format: '{"type":"json_object"}' }, 'parameter "response_format" is "{'],
  ])('leaves to other replicas what it cannot do: %s', async (parameters, words) => {
    const { call } = await shared('says');
    await expect(call({ prompt: ['x'] }, parameters)).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining(words),
    });
  });

  it('takes parameters that ask for nothing, and the newer name of max_tokens', async () => {
    const { call } = await shared('says');
    const neutral = { user: 'me', n: 1, logprobs: false, tools: '[]' };
    const answer = await call({ prompt: ['x'] }, { ...GREEDY, ...neutral, max_completion_tokens: 2 });
    expect(answer.parameters['completion_tokens']).toBe(2);
  });
});

describe('a model with a chat template', () => {
  const messages = (...given: object[]) => ({ messages: [JSON.stringify(given)] });

  it('answers a prompt as the one message that it is, without the space before', async () => {
    const { call } = await shared('chat');
    const answer = await call({ prompt: ['hello'] }, GREEDY);
    expect(textOf(answer)).toBe('Hi there');
    const same = await call(messages({ role: 'user', content: 'hello' }), GREEDY);
    expect([textOf(same), { ...same.parameters }]).toEqual(['Hi there', { ...answer.parameters }]);
    const parts = messages({
      role: 'user',
      content: [
        { type: 'text', text: 'hel' },
        { type: 'text', text: 'lo' },
      ],
    });
    expect({ ...(await call(parts, GREEDY)).parameters }).toEqual({ ...answer.parameters });
  });

  it('answers a chat, and goes on with an answer at its end', async () => {
    const { call } = await shared('chat');
    const chat = [
      { role: 'system', content: 'be brief' },
      { role: 'user', content: 'hello' },
    ];
    const answer = await call(messages(...chat), GREEDY);
    expect(textOf(answer)).toBe('Hi there');
    const developer = await call(messages({ ...chat[0], role: 'developer' }, ...chat.slice(1)), GREEDY);
    expect({ ...developer.parameters }).toEqual({ ...answer.parameters });
    const begun = await call(messages(...chat, { role: 'assistant', content: 'Hi' }), GREEDY);
    expect(textOf(begun)).not.toContain('Hi');
  });

  it('takes special tokens that a caller spells out for text', async () => {
    const { call } = await shared('chat');
    const count = async (prompt: string) =>
      Number((await call({ prompt: [prompt] }, GREEDY)).parameters['prompt_tokens']);
    expect(await count('</s><|assistant|>')).toBeGreaterThan((await count('a')) + 10);
  });

  it.each<[string, object[], string]>([
    ['a role that it does not know', [{ role: 'tool', content: 'a' }], 'message 0 has the role "tool"'],
    ['a picture', [{ role: 'user', content: [{ type: 'image_url' }] }], 'message 0 has "content" that is not text'],
    [
      'the call of a tool',
      [{ role: 'assistant', content: '', tool_calls: [{ id: '1', type: 'function' }] }],
      'message 0 has "tool_calls", which the model does not support',
    ],
    [
      'what the template refuses',
      [
        { role: 'assistant', content: 'a' },
        { role: 'user', content: 'b' },
      ],
      "the model's chat template rejects them: the user speaks first",
    ],
  ])('leaves to other replicas %s', async (_what, given, words) => {
    const { call } = await shared('chat');
    await expect(call(messages(...given))).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining(`input "messages": ${words}`),
    });
  });

  it('refuses a message that has no content, and reads one whose list of tool calls is empty', async () => {
    const { call } = await shared('chat');
    await expect(call(messages({ role: 'user' }))).rejects.toMatchObject({ code: 'invalid_argument' });
    const answer = await call(messages({ role: 'user', content: 'a', tool_calls: [] }), { ...GREEDY, max_tokens: 1 });
    expect(answer.parameters['completion_tokens']).toBe(1);
  });
});

describe('a model that makes vectors of texts', () => {
  it('makes one of length 1 for each, the same for the same', async () => {
    const { call } = await shared('random', { embeddings: true });
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
  ])('refuses %s', async (_what, texts, parameters, words) => {
    const { call } = await shared('random', { embeddings: true });
    const data = texts.map((text) => new TextEncoder().encode(text));
    await expect(call({ input: { datatype: 'BYTES', shape: [data.length], data } }, parameters)).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringContaining(words),
    });
  });

  it('accepts a parameter for records, and leaves others to other replicas', async () => {
    const { call } = await shared('random', { embeddings: true });
    expect((await call({ input: ['a'] }, { user: 'me' })).outputs['embedding']?.shape).toEqual([1, 32]);
    await expect(call({ input: ['a'] }, { temperature: 1 })).rejects.toMatchObject({
      code: 'unimplemented',
      message: expect.stringContaining('parameter "temperature" is not supported by this model; supported: none'),
    });
  });
});

describe('a file', () => {
  it.each<[string, () => Uint8Array | string, string]>([
    ['of another kind', () => 'hello', 'Invalid GGUF magic'],
    ['that is empty', () => '', 'Invalid GGUF magic'],
    ['that is cut', () => readFileSync(file('random')).subarray(0, 100_000), 'Failed to load model'],
    ['that is cut early', () => readFileSync(file('random')).subarray(0, 5000), 'Failed to load model'],
  ])('%s is refused in one line', async (_what, contents, words) => {
    writeFileSync(file('broken'), contents());
    await expect(backend('broken')).rejects.toMatchObject({
      code: 'usage',
      message: expect.stringMatching(new RegExp(`^cannot load .*broken\\.gguf: .*${words}.*$`)),
    });
  });

  it('that is not there is refused, too', async () => {
    await expect(backend('nowhere')).rejects.toMatchObject({
      code: 'usage',
      message: `file not found: ${file('nowhere')}`,
    });
    await expect(backend('..', { path: folder })).rejects.toMatchObject({ code: 'usage' });
  });
});
