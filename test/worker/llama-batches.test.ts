import type { BatchItem, Token } from 'node-llama-cpp';
import { describe, expect, it } from 'vitest';
import { createBlockBatching } from '../../src/worker/llama-batches.js';

const item = (length: number): BatchItem => ({
  tokens: Array<Token>(length).fill(1 as Token),
  logits: [],
  evaluationPriority: 5,
});

describe('what a context evaluates together', () => {
  it('is one block of a prompt, or all the single tokens, in turns', () => {
    const { itemPrioritizationStrategy: next } = createBlockBatching();
    if (typeof next !== 'function') throw new Error('it is a function');
    const [a, b, x, y] = [item(64), item(20), item(1), item(1)];
    const batch = (...items: BatchItem[]) => next({ items, size: 512 });
    const whole = (...items: BatchItem[]) => items.map((each) => ({ item: each, processAmount: each.tokens.length }));
    expect(batch(x, a, y, b)).toEqual(whole(a));
    expect(batch(x, y, b)).toEqual(whole(x, y));
    expect(batch(b)).toEqual(whole(b));
    expect(batch(a, b)).toEqual(whole(a));
    expect(batch(b, x)).toEqual(whole(x));
    expect(batch(x, y)).toEqual(whole(x, y));
    expect(batch(b, x)).toEqual(whole(b));
  });
});
