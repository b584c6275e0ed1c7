import type { Token } from 'node-llama-cpp';
import { expect, it } from 'vitest';
import { createStoriesModel } from '../../examples/llm/stories.js';
import { loadLlamaCpp, startLlama } from '../../src/worker/llama-cpp.js';
import { type CachedSequence, SequencePool } from '../../src/worker/llama-sequence-pool.js';
import { generateLlamaText } from '../../src/worker/llama-text.js';
import { createRecordingLog } from '../support/replicas.js';

const BEGINNING = 'Once upon a time there was a girl named Lily who liked to play in the park with her dog. '.repeat(
  14,
);
const { signal } = new AbortController();

async function generate(kept: CachedSequence, prompt: readonly Token[], seed: number) {
  const before = kept.sequence.tokenMeter.usedInputTokens;
  const sampling = { seed, maxTokens: 40, temperature: 1.2, topP: 1, stop: [] };
  let text = '';
  for await (const piece of generateLlamaText({ cached: kept, prompt, sampling, trimStart: false, signal }))
    text += piece;
  const answer = kept.sequence.contextTokens.slice(prompt.length);
  return { text, answer, evaluated: kept.sequence.tokenMeter.usedInputTokens - before };
}

// Fails if the state of generated tokens is kept, because their probabilities differ slightly.
it('a conversation evaluates only the new tokens of each turn, and generates the same texts as fresh sequences', async () => {
  const llama = await startLlama(await loadLlamaCpp(), createRecordingLog());
  const model = await llama.loadModel({ modelPath: await createStoriesModel(() => {}) });
  const createFreshSequence = async (): Promise<CachedSequence> => {
    const context = await model.createContext({ sequences: 1, contextSize: 1024, threads: 1 });
    return new SequencePool(context, 1).take([]);
  };
  const kept = await createFreshSequence();
  let prompt: readonly Token[] = [model.tokens.bos as Token, ...model.tokenize(BEGINNING)];
  for (let turn = 0; turn < 4; turn++) {
    const { text, answer, evaluated } = await generate(kept, prompt, turn);
    if (turn > 0) expect(evaluated).toBeLessThan(130);
    expect((await generate(await createFreshSequence(), prompt, turn)).text).toBe(text);
    prompt = [...prompt, ...answer, ...model.tokenize(' One day she went to the park.')];
  }
  await model.dispose();
});
