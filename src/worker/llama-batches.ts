import type { BatchItem, BatchingOptions } from 'node-llama-cpp';

/**
 * Decides which tokens a context evaluates together. A block of a prompt is evaluated alone: its numbers depend on how many
 * tokens are evaluated with it, and it may be kept for a later call, which must write what it would write without. Single
 * tokens, one of each text that is being written, are evaluated together. Blocks and tokens take turns, so that a long
 * prompt does not hold up the texts of others.
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
