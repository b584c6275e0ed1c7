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

/** Limits of a text, by who wrote it. */
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
export const UNTRUSTED_JSON_LIMITS: JsonLimits = { maxDepth: 64, portable: true };

/** For the answers of a server we asked: whatever it took from others is shown, far from the end of our stack. */
export const SERVER_JSON_LIMITS: JsonLimits = { maxDepth: 1000, portable: false, maxWeight: 6_000_000 };

/** An empty object takes about 200 bytes, a number about 50. */
const CONTAINER_WEIGHT = 4;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
const ESCAPE_LETTERS = '"\\/bfnrtu';
const FOUR_HEX_DIGITS = /^[0-9a-fA-F]{4}$/;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;

/**
 * Reads one JSON value, in time linear in the length of the text. Throws {@link JsonSyntaxError}, and
 * `too_large` for more than `maxWeight`.
 */
export function parseJson(text: string, limits: JsonLimits = UNTRUSTED_JSON_LIMITS): Json {
  return new Parser(text, limits).parse();
}

/** Reads by character codes: a regular expression for each token takes five times as long. */
class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #portable: boolean;
  #weightLeft: number;
  #at = 0;

  constructor(text: string, { maxDepth, portable, maxWeight = Number.POSITIVE_INFINITY }: JsonLimits) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#portable = portable;
    this.#weightLeft = maxWeight;
  }

  parse(): Json {
    this.#skipSpace();
    const parsed = this.#value(1);
    this.#skipSpace();
    if (this.#at < this.#text.length) this.#fail('Extra data', this.#at);
    return parsed;
  }

  #fail(reason: string, unit: number): never {
    throw new JsonSyntaxError(reason, characterCount(this.#text, unit));
  }

  #skipSpace(): void {
    const text = this.#text;
    let at = this.#at;
    for (;;) {
      const unit = text.charCodeAt(at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) break;
      at++;
    }
    this.#at = at;
  }

  #value(depth: number): Json {
    if (depth > this.#maxDepth) {
      const reason = `Nested deeper than ${this.#maxDepth} levels`;
      throw new JsonSyntaxError(reason, characterCount(this.#text, this.#at), true);
    }
    const first = this.#text[this.#at];
    this.#weigh(first === '{' || first === '[' ? CONTAINER_WEIGHT : 1);
    switch (first) {
      case '"':
        return this.#string();
      case '{':
        return this.#object(depth);
      case '[':
        return this.#array(depth);
      case 't':
        return this.#word('true', true);
      case 'f':
        return this.#word('false', false);
      case 'n':
        return this.#word('null', null);
      default:
        return this.#number();
    }
  }

  #weigh(weight: number): void {
    this.#weightLeft -= weight;
    if (this.#weightLeft < 0) throw new AnyserveError('too_large', 'its JSON holds too many values');
  }

  #word<T>(spelled: string, meaning: T): T {
    if (!this.#text.startsWith(spelled, this.#at)) this.#fail('Expecting value', this.#at);
    this.#at += spelled.length;
    return meaning;
  }

  #number(): JsonNumber {
    const start = this.#at;
    NUMBER.lastIndex = start;
    if (!NUMBER.test(this.#text)) this.#fail('Expecting value', start);
    this.#at = NUMBER.lastIndex;
    const written = this.#text.slice(start, this.#at);
    if (this.#portable && !Number.isFinite(Number(written))) this.#fail('Number out of range', start);
    return new JsonNumber(written);
  }

  #string(): string {
    const text = this.#text;
    const start = this.#at;
    let hasEscape = false;
    let end = start + 1;
    for (let unit = text.charCodeAt(end); unit !== QUOTE; unit = text.charCodeAt(end)) {
      if (unit === BACKSLASH) {
        hasEscape = true;
        end += 2;
      } else if (unit >= FIRST_PRINTABLE) end++;
      else this.#failInString(start);
    }
    this.#at = end + 1;
    const read = hasEscape ? this.#unescaped(start) : text.slice(start + 1, end);
    if (this.#portable && !read.isWellFormed()) this.#fail('Lone surrogate in string starting at', start);
    return read;
  }

  /** The string literal from `start` to here, which has escapes: the runtime's reader decodes them fastest. */
  #unescaped(start: number): string {
    try {
      return JSON.parse(this.#text.slice(start, this.#at)) as string;
    } catch {
      return this.#failInString(start);
    }
  }

  /** Fails for the first thing that is wrong in a string, which is known to be broken. */
  #failInString(start: number): never {
    const text = this.#text;
    for (let at = start + 1; at < text.length; at++) {
      const letter = text[at] as string;
      if (letter === '"') break;
      if (letter.charCodeAt(0) < FIRST_PRINTABLE) this.#fail('Invalid control character at', at);
      if (letter !== '\\') continue;
      const backslash = at++;
      if (at >= text.length) break;
      if (!ESCAPE_LETTERS.includes(text[at] as string)) this.#fail('Invalid \\escape', backslash);
      if (text[at] !== 'u') continue;
      const isWhole = FOUR_HEX_DIGITS.test(text.slice(at + 1, at + 5)) && at + 5 < text.length;
      if (!isWhole) this.#fail('Invalid \\uXXXX escape', backslash + 1);
      at += 4;
    }
    this.#fail('Unterminated string starting at', start);
  }

  #array(depth: number): Json[] {
    const items: Json[] = [];
    this.#at++;
    this.#skipSpace();
    if (this.#text[this.#at] === ']') {
      this.#at++;
      return items;
    }
    for (;;) {
      items.push(this.#value(depth + 1));
      if (this.#ends(']')) return items;
    }
  }

  #object(depth: number): JsonObject {
    const entries = new Map<string, Json>();
    this.#at++;
    this.#skipSpace();
    if (this.#text[this.#at] === '}') {
      this.#at++;
      return entries;
    }
    for (;;) {
      if (this.#text[this.#at] !== '"') this.#fail('Expecting property name enclosed in double quotes', this.#at);
      const key = this.#string();
      this.#skipSpace();
      if (this.#text[this.#at] !== ':') this.#fail("Expecting ':' delimiter", this.#at);
      this.#at++;
      this.#skipSpace();
      entries.set(key, this.#value(depth + 1));
      if (this.#ends('}')) return entries;
    }
  }

  /** Reads what follows an item: true for the closing bracket, false for a comma. */
  #ends(bracket: string): boolean {
    this.#skipSpace();
    const found = this.#text[this.#at];
    if (found !== bracket && found !== ',') this.#fail("Expecting ',' delimiter", this.#at);
    this.#at++;
    if (found === ',') this.#skipSpace();
    return found === bracket;
  }
}

/** A position in characters, from one in UTF-16 units, of which some characters take two. */
function characterCount(text: string, units: number): number {
  let count = 0;
  for (let at = 0; at < units; count++) at += (text.codePointAt(at) as number) > 0xffff ? 2 : 1;
  return count;
}

/** Writes a value as compact JSON, numbers as they were written. */
export function serializeJson(value: Json): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof JsonNumber) return value.text;
  if (isJsonObject(value)) {
    let text = '';
    for (const [key, item] of value) text += `${text === '' ? '' : ','}${JSON.stringify(key)}:${serializeJson(item)}`;
    return `{${text}}`;
  }
  if (Array.isArray(value)) return `[${value.map(serializeJson).join(',')}]`;
  return String(value);
}

/** The object that a server's answer is; undefined when it is none. */
export function parseJsonObject(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text, SERVER_JSON_LIMITS);
    return isJsonObject(json) ? json : undefined;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return undefined;
    throw error;
  }
}
