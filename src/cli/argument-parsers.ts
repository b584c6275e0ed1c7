import { type Capability, type CapabilityQuery, createPairs, listPairs } from '../core/capability.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { MAX_TIMER_MS } from '../core/option-checks.js';
import { parseCapability } from '../json/capability-json.js';
import { isJsonObject, type Json, JsonSyntaxError, parseJson } from '../json/exact-json.js';

/** A query from words like `type=chat`. Throws `usage` for another word, or a key given twice. */
export function parseQueryWords(words: readonly string[]): CapabilityQuery {
  const query = new Map<string, string>();
  for (const word of words) addPair(query, word);
  return createPairs(query);
}

/** A query from `--cap type=chat,gpu=h100`; what several of them say must hold together. Throws `usage`. */
export function parseCapQuery(caps: readonly string[]): CapabilityQuery {
  const query = new Map<string, string>();
  for (const cap of caps) {
    for (const [key, value] of listPairs(parseCap(cap).pairs)) {
      if (query.has(key)) throw twice(key);
      query.set(key, value);
    }
  }
  return createPairs(query);
}

/** A capability object from `--cap model=llama,type=chat` or `--cap '{"gpu":1}'`. Throws `usage`. */
export function parseCap(cap: string): Capability {
  if (cap.trimStart().startsWith('{')) {
    const object = parseJsonArgument(`--cap ${cap}`, cap);
    if (isJsonObject(object)) return parseCapability(object);
  }
  const pairs = new Map<string, string>();
  for (const pair of cap.split(',')) addPair(pairs, pair);
  return parseCapability(pairs);
}

/** JSON from an argument or a file; `where` begins the error. Throws `usage`. */
export function parseJsonArgument(where: string, text: string): Json {
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new AnyserveError('usage', `${where}: not JSON at character ${error.position}: ${error.message}`);
  }
}

/** A whole number in a range. Throws `usage`. */
export function parseWholeNumber(option: string, text: string, least: number, most: number): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new AnyserveError('usage', `--${option} ${JSON.stringify(text)}: give a whole number from ${least} to ${most}`);
}

/** A number. Throws `usage`. */
export function parseDecimal(option: string, text: string): number {
  if (/^-?\d+(?:\.\d+)?$/.test(text)) return Number(text);
  throw new AnyserveError('usage', `--${option} ${JSON.stringify(text)}: give a number like 0.7`);
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)?$/;
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A span of time in milliseconds from `5`, `5s`, `500ms`, `2m`, `1h` or `0`; a bare number means seconds. Throws `usage`. */
export function parseDurationMs(option: string, text: string, leastMs = 0): number {
  const [, amount, unit = 's'] = DURATION.exec(text) ?? [];
  const ms = Number(amount) * (UNIT_MS[unit] ?? Number.NaN);
  const where = `--${option} ${JSON.stringify(text)}`;
  if (Number.isNaN(ms)) throw new AnyserveError('usage', `${where}: give a time like 5s, 500ms or 2m`);
  if (ms < leastMs) throw new AnyserveError('usage', `${where}: too short; give ${leastMs}ms or more`);
  if (ms > MAX_TIMER_MS) throw new AnyserveError('usage', `${where}: too long; give 24 days (576h) or less`);
  return ms;
}

function addPair(pairs: Map<string, string>, word: string): void {
  const at = word.indexOf('=');
  if (at < 1) throw new AnyserveError('usage', `${JSON.stringify(word)} is no KEY=VALUE, such as type=chat`);
  const key = word.slice(0, at);
  if (pairs.has(key)) throw twice(key);
  pairs.set(key, word.slice(at + 1));
}

function twice(key: string): AnyserveError {
  return new AnyserveError('usage', `the key ${JSON.stringify(key)} is given twice; it can have one value`);
}

/** What is wrong with an argument is a matter of usage, whatever it is called further in. */
export function rethrowAsUsage<T>(make: () => T): T {
  try {
    return make();
  } catch (cause) {
    throw new AnyserveError('usage', getErrorMessage(cause), { cause });
  }
}
