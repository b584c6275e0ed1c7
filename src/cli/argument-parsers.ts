import { type Capability, type CapabilityQuery, createPairs, listPairs } from '../core/capability.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { MAX_TIMER_MS } from '../core/options.js';
import { parseCapability } from '../json/capability-json.js';
import { JsonSyntaxError, parseJson } from '../json/exact-json.js';
import { isJsonObject, type Json } from '../json/json-value.js';

/** Parses a query from words such as `type=chat`. Throws `usage` for other words, or if a key is given twice. */
export function parseQueryWords(words: readonly string[]): CapabilityQuery {
  const query = new Map<string, string>();
  for (const word of words) addPair(query, word);
  return createPairs(query);
}

/** Parses a query from `--cap type=chat,gpu=h100`. A capability must match the pairs of all options. Throws `usage`. */
export function parseCapQuery(caps: readonly string[]): CapabilityQuery {
  const query = new Map<string, string>();
  for (const cap of caps) {
    for (const [key, value] of listPairs(parseCap(cap).pairs)) {
      if (query.has(key)) throw createDuplicateKeyError(key);
      query.set(key, value);
    }
  }
  return createPairs(query);
}

/** Parses a capability from `--cap model=llama,type=chat` or `--cap '{"gpu":1}'`. Throws `usage`. */
export function parseCap(cap: string): Capability {
  if (cap.trimStart().startsWith('{')) {
    const object = parseJsonArgument(`--cap ${cap}`, cap);
    if (isJsonObject(object)) return parseCapability(object);
  }
  const pairs = new Map<string, string>();
  for (const pair of cap.split(',')) addPair(pairs, pair);
  return parseCapability(pairs);
}

/** Parses JSON from an argument or a file. Error messages begin with `where`. Throws `usage`. */
export function parseJsonArgument(where: string, text: string): Json {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new AnyserveError('usage', `${where}: invalid JSON at character ${error.position}: ${error.message}`);
  }
}

/** Parses a whole number from `min` to `max`. Throws `usage`. */
export function parseWholeNumber(option: string, text: string, min: number, max: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= min && number <= max) return number;
  throw new AnyserveError('usage', `--${option} ${JSON.stringify(text)}: give a whole number from ${min} to ${max}`);
}

/** Parses one of a few words. Throws `usage`. */
export function parseChoice<T extends string>(option: string, text: string, choices: readonly T[]): T {
  const choice = choices.find((name) => name === text);
  if (choice !== undefined) return choice;
  throw new AnyserveError('usage', `--${option} ${JSON.stringify(text)}: give one of ${choices.join(', ')}`);
}

/** Parses a decimal number. Throws `usage`. */
export function parseDecimal(option: string, text: string): number {
  if (/^-?\d+(?:\.\d+)?$/.test(text)) return Number(text);
  throw new AnyserveError('usage', `--${option} ${JSON.stringify(text)}: give a number like 0.7`);
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Parses a duration such as `5s`, `500ms`, `2m`, `1h`, or a number of seconds. Returns it in ms. Throws `usage`. */
export function parseDurationMs(option: string, text: string, minMs = 0): number {
  const [, amount, unit = 's'] = DURATION.exec(text) ?? [];
  const ms = Number(amount) * (UNIT_MS[unit] ?? Number.NaN);
  const where = `--${option} ${JSON.stringify(text)}`;
  if (Number.isNaN(ms)) throw new AnyserveError('usage', `${where}: give a time like 5s, 500ms or 2m`);
  if (ms < minMs) throw new AnyserveError('usage', `${where}: too short; give ${minMs}ms or more`);
  if (ms > MAX_TIMER_MS) throw new AnyserveError('usage', `${where}: too long; give 24 days (576h) or less`);
  return ms;
}

function addPair(pairs: Map<string, string>, word: string): void {
  const separator = word.indexOf('=');
  if (separator < 1) throw new AnyserveError('usage', `${JSON.stringify(word)} is not KEY=VALUE, such as type=chat`);
  const key = word.slice(0, separator);
  if (pairs.has(key)) throw createDuplicateKeyError(key);
  pairs.set(key, word.slice(separator + 1));
}

function createDuplicateKeyError(key: string): AnyserveError {
  return new AnyserveError('usage', `key ${JSON.stringify(key)} is given twice; give it one value`);
}

/** Calls `make` and rethrows its errors as `usage`, for parsers that throw other codes. */
export function rethrowAsUsage<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    throw new AnyserveError('usage', getErrorMessage(cause), { cause });
  }
}
