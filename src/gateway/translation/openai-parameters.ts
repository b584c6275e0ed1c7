import { AnyserveError } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import type { Parameters, ParameterValue } from '../../inference/inference-data.js';
import { checkRequestsOneText, NON_PARAMETERS } from '../../inference/openai-request.js';
import { type Json, JsonNumber, type JsonObject, serializeJson } from '../../json/json-value.js';

/** Parameters that are sent as doubles, even if the request has an integer. */
const DOUBLE_PARAMETERS: ReadonlySet<string> = new Set([
  'temperature',
  'top_p',
  'frequency_penalty',
  'presence_penalty',
]);

/** The newer name of `max_tokens`, which is the name in the text contract. */
const NEW_TOKEN_LIMIT = 'max_completion_tokens';
const TOKEN_LIMIT = 'max_tokens';

/**
 * Converts the members of an OpenAI request to parameters of an inference. All are passed on, since a replica refuses those that it
 * doesn't know: lists and objects as JSON text, `null` as if it were absent. Throws `invalid_argument`, which names the
 * parameter, for one that requests more than one text.
 */
export function toModelParameters(body: JsonObject): Parameters {
  const parameters: Record<string, ParameterValue> = Object.create(null);
  for (const [name, value] of body) {
    if (NON_PARAMETERS.has(name) || value === null) continue;
    checkRequestsOneText(name, value);
    parameters[name] = toParameterValue(name, value);
  }
  return parameters;
}

/** Gives the limit of tokens its name in the text contract. Throws `invalid_argument` for two limits that differ. */
export function renameTokenLimit(parameters: Parameters): Parameters {
  const limit = parameters[NEW_TOKEN_LIMIT];
  if (limit === undefined) return parameters;
  const { [NEW_TOKEN_LIMIT]: _renamed, ...others } = parameters;
  if (others[TOKEN_LIMIT] !== undefined && others[TOKEN_LIMIT] !== limit)
    throw createParameterError(NEW_TOKEN_LIMIT, `differs from "${TOKEN_LIMIT}", which is the same limit; give one`);
  return { ...others, [TOKEN_LIMIT]: limit };
}

function toParameterValue(name: string, value: Exclude<Json, null>): ParameterValue {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string') {
    // As a parameter, text that is a JSON array stands for several stop sequences.
    return name === 'stop' && value.trimStart().startsWith('[') ? JSON.stringify([value]) : value;
  }
  if (!(value instanceof JsonNumber)) return serializeJson(value);
  if (DOUBLE_PARAMETERS.has(name) || !/^-?\d+$/.test(value.text)) return { double: Number(value.text) };
  const integer = Number(value.text);
  return Number.isSafeInteger(integer) ? integer : BigInt(value.text);
}

/** Creates the error for a parameter that no replica can fulfill. */
export function createParameterError(name: string, problem: string): AnyserveError {
  return new AnyserveError('invalid_argument', `parameter ${quote(name)} ${problem}`);
}
