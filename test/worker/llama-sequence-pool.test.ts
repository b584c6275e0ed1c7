import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LlamaContext, LlamaModel, Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createBlockBatching } from '../../src/worker/llama-batches.js';
import { loadLlamaCpp, startLlama } from '../../src/worker/llama-cpp.js';
import { type CachedSequence, PROMPT_BLOCK_TOKENS, SequencePool } from '../../src/worker/llama-sequence-pool.js';
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
  const context = await model.createContext({
    sequences,
    contextSize: CONTEXT,
    threads: 1,
    batching: createBlockBatching(),
  });
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

/**
 * Writes some tokens; returns them, how likely every token was at each of them, and how many tokens of the prompt were evaluated.
 * Texts seldom differ when the numbers behind them do, so the numbers are compared.
 */
async function written(kept: CachedSequence, prompt: readonly Token[], seed = 7, most = 10) {
  const before = kept.sequence.tokenMeter.usedInputTokens;
  await kept.evaluate(prompt, never);
  const evaluated = kept.sequence.tokenMeter.usedInputTokens - before;
  const sampling = { seed, temperature: 1.5, topP: 1, topK: 0, yieldEogToken: true };
  const answer: Token[] = [];
  const numbers: number[][] = [];
  const next = kept.sequence.evaluateWithMetadata(prompt.slice(-1), { probabilities: true }, sampling);
  for await (const { token, probabilities } of next) {
    answer.push(token);
    numbers.push([...probabilities.values()]);
    if (answer.length === most) break;
  }
  return { evaluated, answer, numbers };
}

/** Writes in a context that has done nothing else. */
async function writtenAfresh(prompt: readonly Token[], seed?: number) {
  const { answer, numbers } = await withContext(1, (context) =>
    written(new SequencePool(context, 1).take([]), prompt, seed),
  );
  return { answer, numbers };
}

describe('a sequence that keeps its prompt', () => {
  it('evaluates only what is new in each turn, and writes the same text as a fresh one', async () => {
    const turns = await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      let prompt = tokens(1, 3 * PROMPT_BLOCK_TOKENS + 10);
      const all = [];
      for (let turn = 0; turn < 3; turn++) {
        const { answer, numbers, evaluated } = await written(kept, prompt, turn);
        all.push({ prompt, answer, numbers, evaluated });
        prompt = [...prompt, ...answer, ...tokens(turn + 2, 30)];
      }
      return all;
    });
    expect(turns[0]?.evaluated).toBeGreaterThanOrEqual(3 * PROMPT_BLOCK_TOKENS);
    for (const { evaluated } of turns.slice(1)) expect(evaluated).toBeLessThan(2 * PROMPT_BLOCK_TOKENS);
    for (const [seed, { prompt, answer, numbers }] of turns.entries()) {
      expect({ answer, numbers }).toEqual(await writtenAfresh(prompt, seed));
    }
  });

  it('writes the same text whatever was there before: the same prompt, a part of it, or another', async () => {
    const prompt = tokens(1, 4 * PROMPT_BLOCK_TOKENS + 5);
    const befores = [
      prompt,
      prompt.slice(0, PROMPT_BLOCK_TOKENS + 9),
      [...prompt, ...tokens(2, 99)],
      tokens(3, 300),
      prompt.slice(0, -1),
    ];
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const { answer, numbers } = await written(kept, prompt);
      for (const before of befores) {
        await written(kept, before, 8);
        expect(await written(kept, prompt)).toMatchObject({ answer, numbers });
      }
      expect((await written(kept, prompt, 9)).answer).not.toEqual(answer);
    });
  });

  it('knows what it keeps after a call that was cancelled while its prompt was read', async () => {
    const prompt = tokens(1, 6 * PROMPT_BLOCK_TOKENS);
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const { answer, numbers } = await written(kept, prompt);
      const abort = new AbortController();
      const other = tokens(2, 6 * PROMPT_BLOCK_TOKENS);
      const reading = kept.evaluate(other, abort.signal);
      abort.abort(new Error('gone'));
      await expect(reading).rejects.toThrow('gone');
      expect(kept.length % PROMPT_BLOCK_TOKENS).toBe(0);
      expect(kept.length).toBeLessThan(6 * PROMPT_BLOCK_TOKENS);
      expect(await written(kept, prompt)).toMatchObject({ answer, numbers });
    });
  });

  it('knows what it keeps after a call that failed while its prompt was read', async () => {
    const prompt = tokens(1, 4 * PROMPT_BLOCK_TOKENS + 5);
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const { answer, numbers } = await written(kept, prompt);
      const evaluate = kept.sequence.evaluateWithoutGeneratingNewTokens.bind(kept.sequence);
      // The state has the block when the call learns of the failure.
      const failing = vi.spyOn(kept.sequence, 'evaluateWithoutGeneratingNewTokens');
      failing.mockImplementation(async (block) => {
        await evaluate(block);
        if (kept.length === PROMPT_BLOCK_TOKENS) throw new Error('out of memory');
      });
      const other = [...prompt.slice(0, PROMPT_BLOCK_TOKENS), ...tokens(2, 3 * PROMPT_BLOCK_TOKENS)];
      await expect(kept.evaluate(other, never)).rejects.toThrow('out of memory');
      failing.mockRestore();
      expect([kept.length, kept.sequence.nextTokenIndex]).toEqual([PROMPT_BLOCK_TOKENS, 2 * PROMPT_BLOCK_TOKENS]);
      expect(await written(kept, prompt)).toEqual({ answer, numbers, evaluated: 3 * PROMPT_BLOCK_TOKENS + 4 });
    });
  });

  it('writes the same texts in conversations whose turns alternate, and whose prompts were read while others were written', async () => {
    const histories = [1, 5, 6, 7].map((which) => tokens(which, which * PROMPT_BLOCK_TOKENS + 10 * which));
    const turns: ({ prompt: readonly Token[] } & Awaited<ReturnType<typeof written>>)[] = [];
    await withContext(4, async (context) => {
      const free = new SequencePool(context, 4);
      const taken = histories.map((prompt) => free.take(prompt));
      const [writing, ...reading] = taken as [CachedSequence, ...CachedSequence[]];
      await Promise.all([
        written(writing, histories[0] as Token[], 7, 100),
        ...reading.map((kept, at) => kept.evaluate(histories[at + 1] as Token[], never)),
      ]);
      for (const kept of taken) free.release(kept);
      for (let turn = 0; turn < 3; turn++) {
        for (const [at, prompt] of histories.entries()) {
          const kept = free.take(prompt);
          const turnWritten = await written(kept, prompt);
          free.release(kept);
          turns.push({ prompt, ...turnWritten });
          histories[at] = [...prompt, ...turnWritten.answer, ...tokens(turn + at, 30)];
        }
      }
    });
    for (const { prompt, answer, numbers, evaluated } of turns) {
      expect(evaluated).toBeLessThan(2 * PROMPT_BLOCK_TOKENS);
      expect({ answer, numbers }).toEqual(await writtenAfresh(prompt));
    }
  });

  it('always evaluates the last token, of which the next one comes', async () => {
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const prompt = tokens(1, 2 * PROMPT_BLOCK_TOKENS);
      const { answer, numbers } = await written(kept, prompt);
      expect(await written(kept, prompt)).toEqual({ answer, numbers, evaluated: PROMPT_BLOCK_TOKENS - 1 });
    });
  });
});

describe('the free sequences', () => {
  it('go to the prompt that they have most of, else the one free for the longest time', async () => {
    await withContext(3, async (context) => {
      const free = new SequencePool(context, 3);
      const [a, b] = [tokens(1, 4 * PROMPT_BLOCK_TOKENS + 1), tokens(2, 4 * PROMPT_BLOCK_TOKENS + 1)];
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
      const unused = free.take([...a.slice(0, PROMPT_BLOCK_TOKENS), ...tokens(5, 200)]);
      expect([ofA, ofB]).not.toContain(unused);
    });
  });
});
