import { describe, expect, it } from 'vitest';
import { HandlerResponse, type Tensors } from '../../src/inference/inference-data.js';
import {
  createTextResponse,
  readMessages,
  TEXT_INPUTS,
  TEXT_OUTPUTS,
  type TextEnd,
} from '../../src/inference/text-contract.js';
import { serializeJson } from '../../src/json/json-value.js';

function createInputs(texts: Readonly<Record<string, string | Uint8Array>>): Tensors {
  const named = Object.entries(texts).map(([name, text]) => {
    const data = [typeof text === 'string' ? new TextEncoder().encode(text) : text];
    return [name, { datatype: 'BYTES', shape: [1], data }] as const;
  });
  return Object.fromEntries(named);
}

async function collectAll<T>(parts: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const part of parts) all.push(part);
  return all;
}

it('declares a prompt or messages as inputs, and a text as output', () => {
  expect(TEXT_INPUTS.map(({ name, optional }) => [name, optional])).toEqual([
    ['prompt', true],
    ['messages', true],
  ]);
  expect(TEXT_OUTPUTS).toEqual([{ name: 'text', datatype: 'BYTES', shape: [1] }]);
});

describe('the messages of a request', () => {
  it('are one message for a prompt', () => {
    expect(serializeJson(readMessages(createInputs({ prompt: 'Grüße "Gott"' })))).toBe(
      '[{"role":"user","content":"Grüße \\"Gott\\""}]',
    );
    expect(serializeJson(readMessages(createInputs({ prompt: '' })))).toBe('[{"role":"user","content":""}]');
  });

  it.each([
    '[{"role":"system","content":"Be brief."},{"role":"user","content":"Hello"}]',
    '[{"role":"user","content":[{"type":"text","text":"What is this?"},{"type":"image_url","image_url":{"url":"data:,x"}}]}]',
    '[{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},{"role":"tool","tool_call_id":"1"}]',
    '[{"role":"user","content":"x","__proto__":{"a":1},"constructor":1.0,"id":9007199254740993}]',
  ])('are passed on unchanged: %s', (text) => {
    expect(serializeJson(readMessages(createInputs({ messages: text })))).toBe(text);
  });

  it.each<[string, Readonly<Record<string, string | Uint8Array>>, string]>([
    ['neither', {}, 'expected exactly one of the inputs "prompt" and "messages", got neither'],
    ['both', { prompt: 'a', messages: '[]' }, 'expected exactly one of the inputs "prompt" and "messages", got both'],
    ['bytes', { prompt: Uint8Array.of(0xff) }, 'input "prompt": its bytes are not valid UTF-8'],
    ['no JSON', { messages: '[{"role":]' }, 'input "messages": not JSON at character 9: Expecting value'],
    ['an empty array', { messages: '[]' }, 'input "messages": must be a JSON array of messages'],
    ['an object', { messages: '{"role":"user"}' }, 'input "messages": must be a JSON array of messages'],
    ['a text among them', { messages: '["Hello"]' }, 'input "messages": message 0 is not an object'],
    ['no role', { messages: '[{"content":"a"}]' }, 'message 0 has no string "role"'],
    ['an inherited role', { messages: '[{"__proto__":{"role":"user"}}]' }, 'message 0 has no string "role"'],
    [
      'a number as content',
      { messages: '[{"role":"user","content":1}]' },
      'message 0: "content" must be a string or an array',
    ],
    ['deep nesting', { messages: '['.repeat(10_000) }, 'input "messages": not JSON at character 64: Nested deeper'],
  ])('are refused if the request has %s', (_what, given, message) => {
    expect(() => readMessages(createInputs(given))).toThrow(
      expect.objectContaining({ code: 'invalid_argument', message: expect.stringContaining(message) }),
    );
  });
});

describe('the response of a generated text', () => {
  const END: TextEnd = { finishReason: 'stop', promptTokens: 3, completionTokens: 2, totalTokens: 5 };
  let isEnded = false;

  async function* generatePieces(): AsyncGenerator<string, TextEnd, void> {
    isEnded = false;
    try {
      yield 'Once ';
      yield 'upon';
      return END;
    } finally {
      isEnded = true;
    }
  }

  const parameters = { finish_reason: 'stop', prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };

  it('has the pieces and an empty last text when streaming', async () => {
    expect(await collectAll(createTextResponse(generatePieces(), true))).toEqual([
      { text: ['Once '] },
      { text: ['upon'] },
      new HandlerResponse({ text: [''] }, parameters),
    ]);
  });

  it('has the whole text otherwise', async () => {
    expect(await collectAll(createTextResponse(generatePieces(), false))).toEqual([
      new HandlerResponse({ text: ['Once upon'] }, parameters),
    ]);
  });

  it('has parameters of how the text ended', async () => {
    async function* createUpstream(): AsyncGenerator<string, TextEnd, void> {
      yield 'a';
      return { finishReason: undefined, totalTokens: 4 };
    }
    expect(await collectAll(createTextResponse(createUpstream(), false))).toEqual([
      new HandlerResponse({ text: ['a'] }, { total_tokens: 4 }),
    ]);
  });

  it('stops the generation when the caller stops', async () => {
    for await (const _part of createTextResponse(generatePieces(), true)) break;
    expect(isEnded).toBe(true);
  });
});
