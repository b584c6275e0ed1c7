import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LlamaContext, LlamaModel, Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadLlamaCpp, startLlama } from '../../src/worker/llama-cpp.js';
import { BLOCK, FreeSequences, type KeptSequence } from '../../src/worker/llama-sequences.js';
import { llamaText } from '../../src/worker/llama-text.js';
import { keptLog } from '../support/replicas.js';
import { writeTinyModel } from '../support/tiny-model.js';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-llama-'));
const CONTEXT = 1024;
const { signal: never } = new AbortController();

let model: LlamaModel;

beforeAll(async () => {
  const path = join(folder, 'random.gguf');
  writeTinyModel(path, { contextLength: CONTEXT });
  const llama = await startLlama(await loadLlamaCpp(), keptLog());
  model = await llama.loadModel({ modelPath: path });
});

afterAll(async () => {
  await model.dispose();
  rmSync(folder, { recursive: true });
});

async function withContext<T>(sequences: number, use: (context: LlamaContext) => Promise<T>): Promise<T> {
  const context = await model.createContext({ sequences, contextSize: CONTEXT, threads: 1 });
  try {
    return await use(context);
  } finally {
    await context.dispose();
  }
}

/** Tokens of a text that differs with its number, of this length. */
const tokens = (which: number, length: number): Token[] =>
  Array.from(
    { length },
    (_, at) => model.tokenize('abcdefghijklmnop')[1 + ((at * 7 + which * 3 + at * at * which) % 15)] as Token,
  );

/** Writes a text; returns it, the answer's tokens, and how many tokens of the prompt were evaluated. */
async function written(kept: KeptSequence, prompt: readonly Token[], seed: number, maxTokens = 20) {
  const before = kept.sequence.tokenMeter.usedInputTokens;
  let text = '';
  const sampling = { seed, maxTokens, temperature: 1.5, topP: 1, stop: [] };
  for await (const piece of llamaText({ kept, prompt, sampling, trimStart: false, signal: never })) text += piece;
  const answer = kept.sequence.contextTokens.slice(prompt.length);
  return { text, answer, evaluated: kept.sequence.tokenMeter.usedInputTokens - before };
}

describe('a sequence that keeps its prompt', () => {
  it('evaluates only what is new in each turn, and writes the same text as a fresh one', async () => {
    const turns = await withContext(1, async (context) => {
      const kept = new FreeSequences(context, 1).take([]);
      let prompt = tokens(1, 3 * BLOCK + 10);
      const all = [];
      for (let turn = 0; turn < 3; turn++) {
        const { text, answer, evaluated } = await written(kept, prompt, turn);
        all.push({ prompt, text, evaluated });
        prompt = [...prompt, ...answer, ...tokens(turn + 2, 30)];
      }
      return all;
    });
    expect(turns[0]?.evaluated).toBeGreaterThanOrEqual(3 * BLOCK);
    for (const { evaluated } of turns.slice(1)) expect(evaluated).toBeLessThan(2 * BLOCK);
    for (const [seed, { prompt, text }] of turns.entries()) {
      const fresh = await withContext(1, (context) => written(new FreeSequences(context, 1).take([]), prompt, seed));
      expect(fresh.text).toBe(text);
    }
  });

  it('writes the same text whatever was there before: the same prompt, a part of it, or another', async () => {
    const prompt = tokens(1, 4 * BLOCK + 5);
    const befores = [
      prompt,
      prompt.slice(0, BLOCK + 9),
      [...prompt, ...tokens(2, 99)],
      tokens(3, 300),
      prompt.slice(0, -1),
    ];
    await withContext(1, async (context) => {
      const kept = new FreeSequences(context, 1).take([]);
      const first = await written(kept, prompt, 7);
      expect(first.text).not.toBe('');
      for (const before of befores) {
        await written(kept, before, 8);
        expect((await written(kept, prompt, 7)).text).toBe(first.text);
      }
      // Greedy texts hardly change with the numbers; hot ones do, as another seed shows.
      expect((await written(kept, prompt, 9)).text).not.toBe(first.text);
    });
  });

  it('knows what it keeps after a call that was cancelled while its prompt was read', async () => {
    const prompt = tokens(1, 6 * BLOCK);
    await withContext(1, async (context) => {
      const kept = new FreeSequences(context, 1).take([]);
      const first = await written(kept, prompt, 7);
      const abort = new AbortController();
      const other = tokens(2, 6 * BLOCK);
      const reading = kept.evaluate(other, abort.signal);
      abort.abort(new Error('gone'));
      await expect(reading).rejects.toThrow('gone');
      expect(kept.length % BLOCK).toBe(0);
      expect(kept.length).toBeLessThan(6 * BLOCK);
      expect((await written(kept, prompt, 7)).text).toBe(first.text);
    });
  });

  it('always evaluates the last token, of which the next one comes', async () => {
    await withContext(1, async (context) => {
      const kept = new FreeSequences(context, 1).take([]);
      const prompt = tokens(1, 2 * BLOCK);
      const first = await written(kept, prompt, 7);
      const again = await written(kept, prompt, 7);
      expect([again.text, again.evaluated]).toEqual([first.text, BLOCK - 1]);
    });
  });
});

describe('the free sequences', () => {
  it('go to the prompt that they have most of, else the one free for the longest time', async () => {
    await withContext(3, async (context) => {
      const free = new FreeSequences(context, 3);
      const [a, b] = [tokens(1, 4 * BLOCK + 1), tokens(2, 4 * BLOCK + 1)];
      const ofA = free.take(a);
      await ofA.evaluate(a, never);
      const ofB = free.take(b);
      await ofB.evaluate(b, never);
      free.release(ofA);
      free.release(ofB);
      for (const [prompt, expected] of [
        [b, ofB],
        [a, ofA],
        [[...b, ...tokens(3, 50)], ofB],
      ] as const) {
        const taken = free.take(prompt);
        expect(taken).toBe(expected);
        free.release(taken);
      }
      // A shared beginning, such as a system message, does not end another conversation while others are free.
      const unused = free.take([...a.slice(0, BLOCK), ...tokens(5, 200)]);
      expect([ofA, ofB]).not.toContain(unused);
    });
  });
});
