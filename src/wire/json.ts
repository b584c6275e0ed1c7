import { AnyserveError } from '../core/errors.js';

/**
 * JSON as this project's two ends read and write it. `JSON.parse` will not do: it forgets how a number was written
 * (`1.0`, integers over 2^53), and it says neither where a text breaks nor why in the words that clients of the
 * original know, which are those of Python's `json` module. Nesting is bounded, and what other readers would choke
 * on (a lone surrogate, a number no double can hold) is refused.
 */

/** A parsed value. Objects are maps, so that `__proto__` is a key like any other. */
export type Json = null | boolean | string | JsonNumber | readonly Json[] | JsonObject;

/** An object, its keys in the order of their first appearance; of a repeated key the last value counts. */
export type JsonObject = ReadonlyMap<string, Json>;

/** Whether a value is an object. */
export function isJsonObject(value: Json): value is JsonObject {
  return value instanceof Map;
}

/** A number as it was written. */
export class JsonNumber {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

/** What a text that is not JSON gets: the reason, and the place in characters from the start. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError';
  readonly position: number;
  readonly isTooDeep: boolean;

  constructor(reason: string, position: number, isTooDeep = false) {
    super(reason);
    this.position = position;
    this.isTooDeep = isTooDeep;
  }
}

/** What a text may hold, by who wrote it. */
export interface JsonLimits {
  readonly maxDepth: number;
  /**
   * Maximum weight of all values together: an object or array weighs {@link CONTAINER_WEIGHT}, any other value 1. Two
   * bytes of text (`{}`) become 200 in memory, so the length of the text alone does not bound what it takes.
   * Default: no limit.
   */
  readonly maxWeight?: number;
  /** Whether to refuse what other readers would choke on: lone surrogates, numbers that no double holds. */
  readonly portable: boolean;
}

/** For texts from anyone, which others will read: deeper than any registration or tensor needs. */
export const FROM_ANYONE: JsonLimits = { maxDepth: 64, portable: true };

/** For the answers of a server we asked: whatever it took from others is shown, far from the end of our stack. */
export const FROM_SERVER: JsonLimits = { maxDepth: 1000, portable: false, maxWeight: 6_000_000 };

/** An empty object takes about 200 bytes, a number about 50. */
const CONTAINER_WEIGHT = 4;

const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what a JSON string may not hold
const PLAIN_CHARACTERS = /[^"\\\u0000-\u001f]*/y;
const FOUR_HEX_DIGITS = /[0-9a-fA-F]{4}/y;
const LONE_SURROGATE = /\p{Surrogate}/u;

const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};

/** Reads one JSON value. Throws {@link JsonSyntaxError}, and `too_large` for more than `maxWeight`. */
export function parseJson(text: string, { maxDepth, portable, maxWeight }: JsonLimits = FROM_ANYONE): Json {
  let at = 0;
  let weightLeft = maxWeight ?? Number.POSITIVE_INFINITY;

  function fail(reason: string, unit: number): never {
    throw new JsonSyntaxError(reason, characters(unit));
  }

  /** A place in characters, of which some take two units. */
  function characters(unit: number): number {
    let count = 0;
    for (let n = 0; n < unit; count++) n += (text.codePointAt(n) as number) > 0xffff ? 2 : 1;
    return count;
  }

  function weigh(weight: number): void {
    weightLeft -= weight;
    if (weightLeft < 0) throw new AnyserveError('too_large', 'its JSON holds too many values');
  }

  /** What the sticky pattern matches here; moves behind it. */
  function take(pattern: RegExp): string | undefined {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (!match) return undefined;
    at = pattern.lastIndex;
    return match[0];
  }

  function value(depth: number): Json {
    if (depth > maxDepth) throw new JsonSyntaxError(`Nested deeper than ${maxDepth} levels`, characters(at), true);
    weigh(text[at] === '{' || text[at] === '[' ? CONTAINER_WEIGHT : 1);
    switch (text[at]) {
      case '"':
        return string();
      case '{':
        return object(depth);
      case '[':
        return array(depth);
      case 't':
        return word('true', true);
      case 'f':
        return word('false', false);
      case 'n':
        return word('null', null);
      default:
        return number();
    }
  }

  function word<T>(spelled: string, meaning: T): T {
    if (!text.startsWith(spelled, at)) fail('Expecting value', at);
    at += spelled.length;
    return meaning;
  }

  function number(): JsonNumber {
    const start = at;
    const written = take(NUMBER);
    if (written === undefined) fail('Expecting value', start);
    if (portable && !Number.isFinite(Number(written))) fail('Number out of range', start);
    return new JsonNumber(written);
  }

  function string(): string {
    const start = at++;
    let read = '';
    for (;;) {
      read += take(PLAIN_CHARACTERS);
      if (at >= text.length) fail('Unterminated string starting at', start);
      if (text[at] === '"') break;
      if (text[at] !== '\\') fail('Invalid control character at', at);
      read += escaped(start);
    }
    at++;
    if (portable && LONE_SURROGATE.test(read)) fail('Lone surrogate in string starting at', start);
    return read;
  }

  function escaped(stringStart: number): string {
    const backslash = at++;
    if (at >= text.length) fail('Unterminated string starting at', stringStart);
    const letter = text[at++] as string;
    if (letter !== 'u') return ESCAPES[letter] ?? fail('Invalid \\escape', backslash);
    const digits = take(FOUR_HEX_DIGITS);
    if (digits === undefined || at >= text.length) fail('Invalid \\uXXXX escape', backslash + 1);
    return String.fromCharCode(Number.parseInt(digits, 16));
  }

  function array(depth: number): Json[] {
    const items: Json[] = [];
    at++;
    take(SPACE);
    if (text[at] === ']') {
      at++;
      return items;
    }
    for (;;) {
      items.push(value(depth + 1));
      if (ends(']')) return items;
    }
  }

  function object(depth: number): JsonObject {
    const entries = new Map<string, Json>();
    at++;
    take(SPACE);
    if (text[at] === '}') {
      at++;
      return entries;
    }
    for (;;) {
      if (text[at] !== '"') fail('Expecting property name enclosed in double quotes', at);
      const key = string();
      take(SPACE);
      if (text[at] !== ':') fail("Expecting ':' delimiter", at);
      at++;
      take(SPACE);
      entries.set(key, value(depth + 1));
      if (ends('}')) return entries;
    }
  }

  /** Behind an item: true behind the bracket that ends them, false behind a comma. */
  function ends(bracket: string): boolean {
    take(SPACE);
    const found = text[at];
    if (found !== bracket && found !== ',') fail("Expecting ',' delimiter", at);
    at++;
    if (found === ',') take(SPACE);
    return found === bracket;
  }

  take(SPACE);
  const parsed = value(1);
  take(SPACE);
  if (at < text.length) fail('Extra data', at);
  return parsed;
}

/** Writes a value as compact JSON, numbers as they were written. */
export function jsonText(value: Json): string {
  if (value instanceof JsonNumber) return value.text;
  if (isJsonObject(value)) {
    return `{${[...value].map(([key, item]) => `${JSON.stringify(key)}:${jsonText(item)}`).join(',')}}`;
  }
  if (Array.isArray(value)) return `[${value.map(jsonText).join(',')}]`;
  return JSON.stringify(value);
}

/** The object that a server's answer is; undefined when it is none. */
export function objectFromText(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text, FROM_SERVER);
    return isJsonObject(json) ? json : undefined;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return undefined;
    throw error;
  }
}
