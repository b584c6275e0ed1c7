import type { BatchItem, Token } from 'node-llama-cpp';
import { describe, expect, it } from 'vitest';
import { createBlockBatching } from '../../src/worker/llama-batches.js';

const createItem = (length: number): BatchItem => ({
  tokens: Array<Token>(length).fill(1 as Token),
  logits: [],
  evaluationPriority: 5,
});

describe('createBlockBatching', () => {
  it('evaluates one block of a prompt and all single tokens in turns', () => {
    const { itemPrioritizationStrategy: next } = createBlockBatching();
    if (typeof next !== 'function') throw new Error('it is a function');
    const [a, b, x, y] = [createItem(64), createItem(20), createItem(1), createItem(1)];
    const selectBatch = (...items: BatchItem[]) => next({ items, size: 512 });
    const expectWhole = (...items: BatchItem[]) =>
      items.map((each) => ({ item: each, processAmount: each.tokens.length }));
    expect(selectBatch(x, a, y, b)).toEqual(expectWhole(a));
    expect(selectBatch(x, y, b)).toEqual(expectWhole(x, y));
    expect(selectBatch(b)).toEqual(expectWhole(b));
    expect(selectBatch(a, b)).toEqual(expectWhole(a));
    expect(selectBatch(b, x)).toEqual(expectWhole(x));
    expect(selectBatch(x, y)).toEqual(expectWhole(x, y));
    expect(selectBatch(b, x)).toEqual(expectWhole(b));
  });
});
