import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { type Json, JsonNumber } from '../json/exact-json.js';
import type { InferParameter } from './gen/open_inference.js';
import type { Parameters, ParameterValue } from './inference-data.js';
import { NO_PARAMETERS, type ParametersMessage } from './protocol-messages.js';

/** The message form of parameters. Throws `invalid_argument` for a value of another kind. */
export function toParametersMessage(parameters: Parameters): ParametersMessage {
  const named = Object.entries(parameters);
  if (named.length === 0) return NO_PARAMETERS;
  return new Map(named.map(([name, value]) => [name, { parameterChoice: choice(name, value) }]));
}

/** The parameters of a message. Integers that a number holds exactly are numbers, larger ones are bigints. */
export function toParameters(message: ParametersMessage): Parameters {
  const parameters: Record<string, ParameterValue> = Object.create(null);
  for (const [name, { parameterChoice }] of message) {
    if (parameterChoice) parameters[name] = narrowed(parameterChoice.value);
  }
  return parameters;
}

/** Merges the parameters of the parts of one answer: of a parameter that comes several times the last counts. */
export function mergeParameters(parts: readonly { readonly parameters: Parameters }[]): Parameters {
  const merged: Record<string, ParameterValue> = Object.create(null);
  // One at a time: an answer can have more parts than a call takes arguments.
  for (const { parameters } of parts) Object.assign(merged, parameters);
  return merged;
}

/** A parameter as JSON: numbers as they are, and as a text where JSON has none for them. */
export function parameterToJson(value: ParameterValue): Json {
  if (typeof value === 'object') return parameterToJson(value.double);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return typeof value === 'number' || typeof value === 'bigint' ? new JsonNumber(String(value)) : value;
}

function choice(name: string, value: ParameterValue): NonNullable<InferParameter['parameterChoice']> {
  if (typeof value === 'boolean') return { $case: 'boolParam', value };
  if (typeof value === 'string') return { $case: 'stringParam', value };
  if (typeof value === 'object' && typeof value?.double === 'number') {
    return { $case: 'doubleParam', value: value.double };
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) return { $case: 'doubleParam', value };
  if (typeof value === 'number' || typeof value === 'bigint') {
    const whole = BigInt(value);
    if (BigInt.asIntN(64, whole) === whole) return { $case: 'int64Param', value: whole };
    if (BigInt.asUintN(64, whole) === whole) return { $case: 'uint64Param', value: whole };
  }
  throw new AnyserveError(
    'invalid_argument',
    `parameter ${quote(name)} is no boolean, text or number of at most 64 bits`,
  );
}

function narrowed(value: boolean | number | bigint | string): ParameterValue {
  if (typeof value !== 'bigint') return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
