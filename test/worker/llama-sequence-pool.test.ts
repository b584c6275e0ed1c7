import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LlamaContext, LlamaModel, Token } from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createBlockBatching } from '../../src/worker/llama-batches.js';
import { loadLlamaCpp, startLlama } from '../../src/worker/llama-cpp.js';
import { type CachedSequence, PROMPT_BLOCK_TOKENS, SequencePool } from '../../src/worker/llama-sequence-pool.js';
import { createRecordingLog } from '../support/replicas.js';
import { writeTinyModel } from '../support/tiny-model.js';

const folder = mkdtempSync(join(tmpdir(), 'anyserve-llama-'));
const CONTEXT = 1024;
const { signal: never } = new AbortController();

let model: LlamaModel;

beforeAll(async () => {
  const path = join(folder, 'random.gguf');
  writeTinyModel(path, { contextLength: CONTEXT });
  const llama = await startLlama(await loadLlamaCpp(), createRecordingLog());
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

/** Returns this many tokens of a text that differs for each `which`. */
const createTokens = (which: number, length: number): Token[] =>
  Array.from(
    { length },
    (_, at) => model.tokenize('abcdefghijklmnop')[1 + ((at * 7 + which * 3 + at * at * which) % 15)] as Token,
  );

/**
 * Generates tokens. Returns them with the probabilities of all tokens at each step, and the number of prompt tokens
 * evaluated. Compares probabilities because equal texts can hide different states.
 */
async function generate(kept: CachedSequence, prompt: readonly Token[], seed = 7, most = 10) {
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

/** Generates in a new context. */
async function generateInNewContext(prompt: readonly Token[], seed?: number) {
  const { answer, numbers } = await withContext(1, (context) =>
    generate(new SequencePool(context, 1).take([]), prompt, seed),
  );
  return { answer, numbers };
}

describe('a sequence that caches its prompt', () => {
  it('evaluates only the new tokens of each turn, and generates the same text as a fresh sequence', async () => {
    const turns = await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      let prompt = createTokens(1, 3 * PROMPT_BLOCK_TOKENS + 10);
      const all = [];
      for (let turn = 0; turn < 3; turn++) {
        const { answer, numbers, evaluated } = await generate(kept, prompt, turn);
        all.push({ prompt, answer, numbers, evaluated });
        prompt = [...prompt, ...answer, ...createTokens(turn + 2, 30)];
      }
      return all;
    });
    expect(turns[0]?.evaluated).toBeGreaterThanOrEqual(3 * PROMPT_BLOCK_TOKENS);
    for (const { evaluated } of turns.slice(1)) expect(evaluated).toBeLessThan(2 * PROMPT_BLOCK_TOKENS);
    for (const [seed, { prompt, answer, numbers }] of turns.entries()) {
      expect({ answer, numbers }).toEqual(await generateInNewContext(prompt, seed));
    }
  });

  it('generates the same text after any earlier prompt: the same one, a prefix of it, or another', async () => {
    const prompt = createTokens(1, 4 * PROMPT_BLOCK_TOKENS + 5);
    const befores = [
      prompt,
      prompt.slice(0, PROMPT_BLOCK_TOKENS + 9),
      [...prompt, ...createTokens(2, 99)],
      createTokens(3, 300),
      prompt.slice(0, -1),
    ];
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const { answer, numbers } = await generate(kept, prompt);
      for (const before of befores) {
        await generate(kept, before, 8);
        expect(await generate(kept, prompt)).toMatchObject({ answer, numbers });
      }
      expect((await generate(kept, prompt, 9)).answer).not.toEqual(answer);
    });
  });

  it('has a correct cache after a call that was cancelled during the evaluation of its prompt', async () => {
    const prompt = createTokens(1, 6 * PROMPT_BLOCK_TOKENS);
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const { answer, numbers } = await generate(kept, prompt);
      const abort = new AbortController();
      const other = createTokens(2, 6 * PROMPT_BLOCK_TOKENS);
      const reading = kept.evaluate(other, abort.signal);
      abort.abort(new Error('gone'));
      await expect(reading).rejects.toThrow('gone');
      expect(kept.length % PROMPT_BLOCK_TOKENS).toBe(0);
      expect(kept.length).toBeLessThan(6 * PROMPT_BLOCK_TOKENS);
      expect(await generate(kept, prompt)).toMatchObject({ answer, numbers });
    });
  });

  it('has a correct cache after a call that failed during the evaluation of its prompt', async () => {
    const prompt = createTokens(1, 4 * PROMPT_BLOCK_TOKENS + 5);
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const { answer, numbers } = await generate(kept, prompt);
      const evaluate = kept.sequence.evaluateWithoutGeneratingNewTokens.bind(kept.sequence);
      // The state already contains the block when the call learns of the failure.
      const failing = vi.spyOn(kept.sequence, 'evaluateWithoutGeneratingNewTokens');
      failing.mockImplementation(async (block) => {
        await evaluate(block);
        if (kept.length === PROMPT_BLOCK_TOKENS) throw new Error('out of memory');
      });
      const other = [...prompt.slice(0, PROMPT_BLOCK_TOKENS), ...createTokens(2, 3 * PROMPT_BLOCK_TOKENS)];
      await expect(kept.evaluate(other, never)).rejects.toThrow('out of memory');
      failing.mockRestore();
      expect([kept.length, kept.sequence.nextTokenIndex]).toEqual([PROMPT_BLOCK_TOKENS, 2 * PROMPT_BLOCK_TOKENS]);
      expect(await generate(kept, prompt)).toEqual({ answer, numbers, evaluated: 3 * PROMPT_BLOCK_TOKENS + 4 });
    });
  });

  it('generates the same texts in alternating conversations whose prompts are evaluated while others generate', async () => {
    const histories = [1, 5, 6, 7].map((which) => createTokens(which, which * PROMPT_BLOCK_TOKENS + 10 * which));
    const turns: ({ prompt: readonly Token[] } & Awaited<ReturnType<typeof generate>>)[] = [];
    await withContext(4, async (context) => {
      const free = new SequencePool(context, 4);
      const taken = histories.map((prompt) => free.take(prompt));
      const [writing, ...reading] = taken as [CachedSequence, ...CachedSequence[]];
      await Promise.all([
        generate(writing, histories[0] as Token[], 7, 100),
        ...reading.map((kept, at) => kept.evaluate(histories[at + 1] as Token[], never)),
      ]);
      for (const kept of taken) free.release(kept);
      for (let turn = 0; turn < 3; turn++) {
        for (const [at, prompt] of histories.entries()) {
          const kept = free.take(prompt);
          const turnWritten = await generate(kept, prompt);
          free.release(kept);
          turns.push({ prompt, ...turnWritten });
          histories[at] = [...prompt, ...turnWritten.answer, ...createTokens(turn + at, 30)];
        }
      }
    });
    for (const { prompt, answer, numbers, evaluated } of turns) {
      expect(evaluated).toBeLessThan(2 * PROMPT_BLOCK_TOKENS);
      expect({ answer, numbers }).toEqual(await generateInNewContext(prompt));
    }
  });

  it('always evaluates the last prompt token, because the next one is predicted from it', async () => {
    await withContext(1, async (context) => {
      const kept = new SequencePool(context, 1).take([]);
      const prompt = createTokens(1, 2 * PROMPT_BLOCK_TOKENS);
      const { answer, numbers } = await generate(kept, prompt);
      expect(await generate(kept, prompt)).toEqual({ answer, numbers, evaluated: PROMPT_BLOCK_TOKENS - 1 });
    });
  });
});

describe('the free sequences', () => {
  it('are chosen by the longest cached prefix of the prompt, then by the longest idle time', async () => {
    await withContext(3, async (context) => {
      const free = new SequencePool(context, 3);
      const [a, b] = [createTokens(1, 4 * PROMPT_BLOCK_TOKENS + 1), createTokens(2, 4 * PROMPT_BLOCK_TOKENS + 1)];
      const ofA = free.take(a);
      await ofA.evaluate(a, never);
      const ofB = free.take(b);
      await ofB.evaluate(b, never);
      free.release(ofA);
      free.release(ofB);
      for (const [prompt, expected] of [
        [b, ofB],
        [a, ofA],
        [[...b, ...createTokens(3, 50)], ofB],
      ] as const) {
        const taken = free.take(prompt);
        expect(taken).toBe(expected);
        free.release(taken);
      }
      // A shared beginning, for example a system message, does not evict another conversation while other sequences are
      // free.
      const unused = free.take([...a.slice(0, PROMPT_BLOCK_TOKENS), ...createTokens(5, 200)]);
      expect([ofA, ofB]).not.toContain(unused);
    });
  });
});
