import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { JsonSyntaxError, parseJson } from '../json/exact-json.js';
import { type Json, JsonNumber } from '../json/json-value.js';
import type { Parameters } from './inference-data.js';
import { parameterToJson } from './parameters.js';

/** Fields of a request's body that are not parameters of the model: its name, its inputs, and the form of the response. */
export const NON_PARAMETERS: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'prompt',
  'input',
  'stream',
  'stream_options',
]);

/**
 * Parameters that can request several texts, or more than text. The text contract can't carry such a response, so they are
 * refused before the engine is called. The function returns whether a value is harmless, since it requests one text.
 */
const UNSUPPORTED_PARAMETERS: ReadonlyMap<string, (value: Json) => boolean> = new Map([
  ['n', isNumber(1)],
  ['best_of', isNumber(1)],
  ['logprobs', (value) => value === false || isNumber(0)(value)],
  ['top_logprobs', isNumber(0)],
  ['prompt_logprobs', isNumber(0)],
  ['modalities', (value) => Array.isArray(value) && value.every((item) => item === 'text')],
  ['response_modalities', (value) => Array.isArray(value) && value.every((item) => item === 'text')],
  ['audio', () => false],
  ['functions', () => false],
  ['function_call', () => false],
  ['return_token_ids', (value) => value === false],
  ['return_tokens_as_token_ids', (value) => value === false],
  ['encoding_format', (value) => value === 'float'],
]);

/** Parameters that are strings in every engine that has them, even if the string looks like JSON. */
const STRING_PARAMETERS: ReadonlySet<string> = new Set([
  'user',
  'safety_identifier',
  'prompt_cache_key',
  'prompt_cache_retention',
  'cache_salt',
  'request_id',
  'reasoning_effort',
  'service_tier',
  'verbosity',
  'suffix',
  'chat_template',
  'grammar',
  'regex',
  'ebnf',
  'guided_regex',
  'guided_grammar',
]);

/**
 * Creates the body of a request, without its messages or texts. All parameters are passed on, since engines have many that
 * aren't part of OpenAI's API. A string that is a JSON array or object is parsed (`response_format`, `tools`), but a `stop` only
 * if it is an array of strings. Throws `invalid_argument`, which names the parameter, for one that can't be passed on.
 */
export function createOpenAiRequestBody(model: string, parameters: Parameters): Map<string, Json> {
  const body = new Map<string, Json>([['model', model]]);
  for (const [name, value] of Object.entries(parameters)) {
    // Triton's clients send these to the server, not to the model.
    if (name.startsWith('triton_')) continue;
    if (NON_PARAMETERS.has(name)) throw createParameterError(name, 'is set by the worker; leave it out');
    const json = parseStructured(name, parameterToJson(value));
    checkRequestsOneText(name, json);
    body.set(name, json);
  }
  return body;
}

/** Throws `invalid_argument` for a parameter that requests several texts or more than text, which no response can carry. */
export function checkRequestsOneText(name: string, value: Json): void {
  const isHarmless = UNSUPPORTED_PARAMETERS.get(name);
  if (!isHarmless || isHarmless(value)) return;
  throw createParameterError(
    name,
    'requests more than the text of one choice, which a response cannot carry; leave it out',
  );
}

/** Parses a string that is a JSON array or object. Returns any other value unchanged. */
function parseStructured(name: string, value: Json): Json {
  if (typeof value !== 'string' || STRING_PARAMETERS.has(name) || !/^\s*[[{]/.test(value)) return value;
  try {
    const json = parseJson(value);
    const isList = Array.isArray(json) && json.every((item) => typeof item === 'string');
    return name === 'stop' && !isList ? value : json;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return value;
    throw error;
  }
}

function isNumber(expected: number): (value: Json) => boolean {
  return (value) => value instanceof JsonNumber && Number(value.text) === expected;
}

function createParameterError(name: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `parameter ${quote(name)} ${problem}`);
}
