import type { ParameterValue } from './inference-data.js';

/** Parameters that many clients of OpenAI's API send, with a check for the values that have no effect on the response. */
const NEUTRAL_VALUES: ReadonlyMap<string, (value: ParameterValue) => boolean> = new Map([
  // These three only matter to the operator's records and caches.
  ['user', () => true],
  ['safety_identifier', () => true],
  ['prompt_cache_key', () => true],
  ['n', isNumber(1)],
  ['best_of', isNumber(1)],
  ['frequency_penalty', isNumber(0)],
  ['presence_penalty', isNumber(0)],
  ['logit_bias', (value) => compactJson(value) === '{}'],
  ['logprobs', (value) => value === false],
  ['top_logprobs', isNumber(0)],
  ['response_format', (value) => compactJson(value) === '{"type":"text"}'],
  ['tools', (value) => compactJson(value) === '[]'],
  // These have no effect without tools.
  ['tool_choice', (value) => value === 'none' || value === 'auto'],
  ['parallel_tool_calls', (value) => typeof value === 'boolean'],
]);

/** Returns whether a parameter of text generation is known and has a value that has no effect on the response. */
export function isNeutralParameter(name: string, value: ParameterValue): boolean {
  return NEUTRAL_VALUES.get(name)?.(value) ?? false;
}

/** Returns whether a parameter of text generation has values that have no effect. */
export function hasNeutralValue(name: string): boolean {
  return NEUTRAL_VALUES.has(name);
}

/** Returns JSON without white space between its tokens, or undefined for other values. */
export function compactJson(value: ParameterValue): string | undefined {
  try {
    return typeof value === 'string' ? JSON.stringify(JSON.parse(value)) : undefined;
  } catch {
    return undefined;
  }
}

function isNumber(expected: number): (value: ParameterValue) => boolean {
  return (value) => (typeof value === 'object' ? value.double : value) === expected;
}
