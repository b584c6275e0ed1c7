import { AnyserveError } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { type Json, JsonNumber } from '../json/json-value.js';
import type { InferParameter } from './gen/open_inference.js';
import type { Parameters, ParameterValue } from './inference-data.js';
import { NO_PARAMETERS, type ParametersMessage } from './protocol-messages.js';

/** Converts parameters to their message form. Throws `invalid_argument` for a value that the protocol can't carry. */
export function toParametersMessage(parameters: Parameters): ParametersMessage {
  const named = Object.entries(parameters);
  if (named.length === 0) return NO_PARAMETERS;
  return new Map(named.map(([name, value]) => [name, { parameterChoice: toChoice(name, value) }]));
}

/** Converts parameters from their message form. Safe integers become numbers, larger ones bigints. */
export function toParameters(message: ParametersMessage): Parameters {
  const parameters: Record<string, ParameterValue> = Object.create(null);
  for (const [name, { parameterChoice }] of message) {
    if (parameterChoice) parameters[name] = toSmallestType(parameterChoice.value);
  }
  return parameters;
}

/** Merges the parameters of the messages of one response. If a parameter occurs several times, the last value wins. */
export function mergeParameters(messages: readonly { readonly parameters: Parameters }[]): Parameters {
  const merged: Record<string, ParameterValue> = Object.create(null);
  // One call per message: a response can have more messages than a call can have arguments.
  for (const { parameters } of messages) Object.assign(merged, parameters);
  return merged;
}

/** Converts a parameter to JSON. Numbers that JSON can't express (NaN and the infinities) become strings. */
export function parameterToJson(value: ParameterValue): Json {
  if (typeof value === 'object') return parameterToJson(value.double);
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  return typeof value === 'number' || typeof value === 'bigint' ? new JsonNumber(String(value)) : value;
}

function toChoice(name: string, value: ParameterValue): NonNullable<InferParameter['parameterChoice']> {
  if (typeof value === 'boolean') return { $case: 'boolParam', value };
  if (typeof value === 'string') return { $case: 'stringParam', value };
  if (typeof value === 'object' && typeof value?.double === 'number') {
    return { $case: 'doubleParam', value: value.double };
  }
  if (typeof value === 'number' && !Number.isSafeInteger(value)) return { $case: 'doubleParam', value };
  if (typeof value === 'number' || typeof value === 'bigint') {
    const integer = BigInt(value);
    if (BigInt.asIntN(64, integer) === integer) return { $case: 'int64Param', value: integer };
    if (BigInt.asUintN(64, integer) === integer) return { $case: 'uint64Param', value: integer };
  }
  throw new AnyserveError(
    'invalid_argument',
    `parameter ${quote(name)} is not a boolean, a string or a number of at most 64 bits`,
  );
}

function toSmallestType(value: boolean | number | bigint | string): ParameterValue {
  if (typeof value !== 'bigint') return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}
