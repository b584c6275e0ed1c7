import type { BatchItem, BatchingOptions } from 'node-llama-cpp';

/**
 * Creates a batching strategy, which decides the tokens that a context evaluates together. A block of a prompt is evaluated
 * alone. Its values depend on the batch size, and a later call that finds it in the cache must produce the same output as
 * without the cache. Single tokens, one for each text in progress, are evaluated together. Blocks and tokens take turns, so
 * that a long prompt does not delay other texts.
 */
export function createBlockBatching(): BatchingOptions {
  let wasBlock = false;
  return {
    itemPrioritizationStrategy: ({ items }) => {
      const block = items.find(isBlock);
      const tokens = items.filter((item) => !isBlock(item));
      const isBlockNext = block !== undefined && (tokens.length === 0 || !wasBlock);
      wasBlock = isBlockNext;
      const batch = isBlockNext ? [block] : tokens;
      return batch.map((item) => ({ item, processAmount: item.tokens.length }));
    },
  };
}

function isBlock({ tokens }: BatchItem): boolean {
  return tokens.length > 1;
}
