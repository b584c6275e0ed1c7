import type { Parameters } from '../../inference/inference-data.js';

/** Token counts, in the form of OpenAI's API. */
export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

/** Returns the token counts of a response; undefined if the replica doesn't count its tokens. */
export function readUsage({
  prompt_tokens: prompt,
  completion_tokens: completion,
  total_tokens: total,
}: Parameters): Usage | undefined {
  if (typeof prompt !== 'number' && typeof completion !== 'number') return undefined;
  const [promptTokens, completionTokens] = [toCount(prompt), toCount(completion)];
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: typeof total === 'number' ? total : promptTokens + completionTokens,
  };
}

function toCount(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}
