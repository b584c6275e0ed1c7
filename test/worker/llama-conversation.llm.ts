import type { Token } from 'node-llama-cpp';
import { expect, it } from 'vitest';
import { createStoriesModel } from '../../examples/llm/stories.js';
import { loadLlamaCpp, startLlama } from '../../src/worker/llama-cpp.js';
import { type CachedSequence, SequencePool } from '../../src/worker/llama-sequence-pool.js';
import { generateLlamaText } from '../../src/worker/llama-text.js';
import { keptLog } from '../support/replicas.js';

const BEGINNING = 'Once upon a time there was a girl named Lily who liked to play in the park with her dog. '.repeat(
  14,
);
const { signal } = new AbortController();

async function written(kept: CachedSequence, prompt: readonly Token[], seed: number) {
  const before = kept.sequence.tokenMeter.usedInputTokens;
  const sampling = { seed, maxTokens: 40, temperature: 1.2, topP: 1, stop: [] };
  let text = '';
  for await (const piece of generateLlamaText({ cached: kept, prompt, sampling, trimStart: false, signal }))
    text += piece;
  const answer = kept.sequence.contextTokens.slice(prompt.length);
  return { text, answer, evaluated: kept.sequence.tokenMeter.usedInputTokens - before };
}

// Keeping the state of tokens that the model wrote makes this fail: their numbers differ a little.
it('a conversation evaluates what is new in each turn, and the texts are those of fresh sequences', async () => {
  const llama = await startLlama(await loadLlamaCpp(), keptLog());
  const model = await llama.loadModel({ modelPath: await createStoriesModel(() => {}) });
  const fresh = async (): Promise<CachedSequence> => {
    const context = await model.createContext({ sequences: 1, contextSize: 1024, threads: 1 });
    return new SequencePool(context, 1).take([]);
  };
  const kept = await fresh();
  let prompt: readonly Token[] = [model.tokens.bos as Token, ...model.tokenize(BEGINNING)];
  for (let turn = 0; turn < 4; turn++) {
    const { text, answer, evaluated } = await written(kept, prompt, turn);
    if (turn > 0) expect(evaluated).toBeLessThan(130);
    expect((await written(await fresh(), prompt, turn)).text).toBe(text);
    prompt = [...prompt, ...answer, ...model.tokenize(' One day she went to the park.')];
  }
  await model.dispose();
});
