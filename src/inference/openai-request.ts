import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { type Json, JsonNumber, JsonSyntaxError, parseJson } from '../json/exact-json.js';
import type { Parameters } from './inference-data.js';
import { parameterToJson } from './parameters.js';

/** Fields of a request's body that the worker sets. */
const SET_BY_WORKER: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'prompt',
  'input',
  'stream',
  'stream_options',
]);

/**
 * Parameters that ask for more than one text, or for more than a text. The text contract can't carry the answer, so
 * they are refused before the engine is asked. The function tells the values that ask for nothing more.
 */
const NOT_CARRIED: ReadonlyMap<string, (value: Json) => boolean> = new Map([
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

/** Parameters that are texts in every engine that has them, also where the text looks like JSON. */
const TEXTS: ReadonlySet<string> = new Set([
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
 * Makes a request's body without its messages or texts. Parameters are passed on whatever they are, since engines have
 * many of their own; a text that is a JSON array or object is passed on as that (`response_format`, `tools`), and a `stop`
 * only as an array of texts. Throws `invalid_argument` that names a parameter which can't be passed on.
 */
export function createOpenAiRequestBody(model: string, parameters: Parameters): Map<string, Json> {
  const body = new Map<string, Json>([['model', model]]);
  for (const [name, value] of Object.entries(parameters)) {
    // Triton's clients send these to the server, not to the model.
    if (name.startsWith('triton_')) continue;
    if (SET_BY_WORKER.has(name)) throw refused(name, 'is set by the worker; leave it out');
    const json = structured(name, parameterToJson(value));
    const isHarmless = NOT_CARRIED.get(name);
    if (isHarmless && !isHarmless(json)) {
      throw refused(name, 'asks for more than one text, and the answer can carry nothing else; leave it out');
    }
    body.set(name, json);
  }
  return body;
}

/** Returns the array or object that a text is; any other value as it is. */
function structured(name: string, value: Json): Json {
  if (typeof value !== 'string' || TEXTS.has(name) || !/^\s*[[{]/.test(value)) return value;
  try {
    const json = parseJson(value);
    const isList = Array.isArray(json) && json.every((item) => typeof item === 'string');
    return name === 'stop' && !isList ? value : json;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return value;
    throw error;
  }
}

function isNumber(wanted: number): (value: Json) => boolean {
  return (value) => value instanceof JsonNumber && Number(value.text) === wanted;
}

function refused(name: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `parameter ${quote(name)} ${problem}`);
}
