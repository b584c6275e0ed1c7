import type { Parameters } from '../wire/parameters.js';
import type { Loose } from './openai-errors.js';
import { parametersFromEnd } from './text-generation.js';

/**
 * What a message, or a piece of one, says: its text, or why the model refuses to give one; and the thoughts before it
 * where the server tells them.
 */
export function outputsFrom(message: Loose, whole: (piece: string) => string): Record<string, string[]> {
  const reasoning = message.reasoning_content ?? message.reasoning;
  const text = [whole(textOf(message.content) || (message.refusal ?? ''))];
  return typeof reasoning === 'string' && reasoning !== '' ? { text, reasoning: [reasoning] } : { text };
}

/** The text of a message's content: itself, or the texts among its parts. */
function textOf(content: Loose): string {
  if (!Array.isArray(content)) return content ?? '';
  return content.map(({ type, text }: Loose) => (type === 'text' ? text : '')).join('');
}

/** Makes pieces of a text end with a whole character: the first half of one that takes two units waits for the other. */
export function wholeCharacters(): (piece: string) => string {
  let half = '';
  return (piece) => {
    const text = half + piece;
    half = /[\ud800-\udbff]$/.exec(text)?.[0] ?? '';
    return text.slice(0, text.length - half.length);
  };
}

/** How a text ended and what it took, as far as the server says. */
export function endParameters(finishReason: unknown, usage: Loose): Parameters {
  const count = (value: unknown): number | undefined => (Number.isSafeInteger(value) ? (value as number) : undefined);
  return parametersFromEnd({
    finishReason: typeof finishReason === 'string' ? finishReason : undefined,
    promptTokens: count(usage?.prompt_tokens),
    completionTokens: count(usage?.completion_tokens),
    totalTokens: count(usage?.total_tokens),
  });
}
