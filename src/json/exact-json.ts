import { AnyserveError } from '../core/errors.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject } from './json-value.js';

/*
 * A JSON parser that keeps numbers as they were written. `JSON.parse` is not enough for three reasons:
 * - It loses the text of numbers, such as `1.0` and integers over 2^53.
 * - Its errors lack the positions and messages of Python's `json` module, which clients of the Python server know.
 * - It accepts values that other JSON parsers reject: lone surrogates, numbers outside the range of a double, and any
 *   nesting depth.
 */

/** Error for text that is not valid JSON. The message is the reason. */
export class JsonSyntaxError extends Error {
  override readonly name = 'JsonSyntaxError';
  /** Position of the error, in characters from the start of the text. */
  readonly position: number;
  /** Whether the text exceeds `maxDepth`. */
  readonly isTooDeep: boolean;

  constructor(reason: string, position: number, isTooDeep = false) {
    super(reason);
    this.position = position;
    this.isTooDeep = isTooDeep;
  }
}

/** Limits of a text, depending on its origin. */
export interface JsonLimits {
  /** Maximum nesting depth of objects and arrays. */
  readonly maxDepth: number;
  /**
   * Maximum total weight of all values. It bounds the memory that they take, which the length of the text does not:
   * `{}` has 2 bytes and takes 200. An object or array weighs {@link CONTAINER_WEIGHT}, any other value 1. Default: no
   * limit.
   */
  readonly maxWeight?: number;
  /** Whether to reject values that other parsers reject: lone surrogates, numbers outside the range of a double. */
  readonly portable: boolean;
}

/** Limits for text from clients, which is passed on to other clients. No registration or tensor needs 64 levels. */
export const UNTRUSTED_JSON_LIMITS: JsonLimits = { maxDepth: 64, portable: true };

/**
 * Limits for responses of a server. They accept whatever the server has accepted. 1,000 levels do not overflow the
 * stack.
 */
export const SERVER_JSON_LIMITS: JsonLimits = { maxDepth: 1000, portable: false, maxWeight: 6_000_000 };

/** Weight of an object or array. An empty object takes about 200 bytes of memory, a number about 50. */
const CONTAINER_WEIGHT = 4;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y;
const ESCAPE_LETTERS = '"\\/bfnrtu';
const FOUR_HEX_DIGITS = /^[0-9a-fA-F]{4}$/;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const FIRST_PRINTABLE = 0x20;

/**
 * Parses a JSON value in time linear in the length of the text. Throws {@link JsonSyntaxError}, or `too_large` for
 * values over `maxWeight`.
 */
export function parseJson(text: string, limits: JsonLimits = UNTRUSTED_JSON_LIMITS): Json {
  return new Parser(text, limits).parse();
}

/** Compares character codes, because a regular expression per token takes five times as long. */
class Parser {
  readonly #text: string;
  readonly #maxDepth: number;
  readonly #portable: boolean;
  #weightLeft: number;
  #offset = 0;

  constructor(text: string, { maxDepth, portable, maxWeight = Number.POSITIVE_INFINITY }: JsonLimits) {
    this.#text = text;
    this.#maxDepth = maxDepth;
    this.#portable = portable;
    this.#weightLeft = maxWeight;
  }

  parse(): Json {
    this.#skipSpace();
    const parsed = this.#parseValue(1);
    this.#skipSpace();
    if (this.#offset < this.#text.length) this.#fail('Extra data', this.#offset);
    return parsed;
  }

  #fail(reason: string, offset: number): never {
    throw new JsonSyntaxError(reason, countCharacters(this.#text, offset));
  }

  #skipSpace(): void {
    const text = this.#text;
    let offset = this.#offset;
    for (;;) {
      const unit = text.charCodeAt(offset);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) break;
      offset++;
    }
    this.#offset = offset;
  }

  #parseValue(depth: number): Json {
    if (depth > this.#maxDepth) {
      const reason = `Nested deeper than ${this.#maxDepth} levels`;
      throw new JsonSyntaxError(reason, countCharacters(this.#text, this.#offset), true);
    }
    const first = this.#text[this.#offset];
    this.#addWeight(first === '{' || first === '[' ? CONTAINER_WEIGHT : 1);
    switch (first) {
      case '"':
        return this.#parseString();
      case '{':
        return this.#parseObject(depth);
      case '[':
        return this.#parseArray(depth);
      case 't':
        return this.#parseLiteral('true', true);
      case 'f':
        return this.#parseLiteral('false', false);
      case 'n':
        return this.#parseLiteral('null', null);
      default:
        return this.#parseNumber();
    }
  }

  #addWeight(weight: number): void {
    this.#weightLeft -= weight;
    if (this.#weightLeft < 0) throw new AnyserveError('too_large', 'its JSON holds too many values');
  }

  #parseLiteral<T>(literal: string, value: T): T {
    if (!this.#text.startsWith(literal, this.#offset)) this.#fail('Expecting value', this.#offset);
    this.#offset += literal.length;
    return value;
  }

  #parseNumber(): JsonNumber {
    const start = this.#offset;
    NUMBER.lastIndex = start;
    if (!NUMBER.test(this.#text)) this.#fail('Expecting value', start);
    this.#offset = NUMBER.lastIndex;
    const number = this.#text.slice(start, this.#offset);
    if (this.#portable && !Number.isFinite(Number(number))) this.#fail('Number out of range', start);
    return new JsonNumber(number);
  }

  #parseString(): string {
    const text = this.#text;
    const start = this.#offset;
    let hasEscape = false;
    let end = start + 1;
    for (let unit = text.charCodeAt(end); unit !== QUOTE; unit = text.charCodeAt(end)) {
      if (unit === BACKSLASH) {
        hasEscape = true;
        end += 2;
      } else if (unit >= FIRST_PRINTABLE) end++;
      else this.#failInString(start);
    }
    this.#offset = end + 1;
    const decoded = hasEscape ? this.#decodeEscapes(start) : text.slice(start + 1, end);
    if (this.#portable && !decoded.isWellFormed()) this.#fail('Lone surrogate in string starting at', start);
    return decoded;
  }

  /** Decodes the string literal from `start` to the current offset. `JSON.parse` decodes escapes fastest. */
  #decodeEscapes(start: number): string {
    try {
      return JSON.parse(this.#text.slice(start, this.#offset)) as string;
    } catch {
      return this.#failInString(start);
    }
  }

  /** Throws for the first error in an invalid string literal. */
  #failInString(start: number): never {
    const text = this.#text;
    for (let offset = start + 1; offset < text.length; offset++) {
      const character = text[offset] as string;
      if (character === '"') break;
      if (character.charCodeAt(0) < FIRST_PRINTABLE) this.#fail('Invalid control character at', offset);
      if (character !== '\\') continue;
      const backslash = offset++;
      if (offset >= text.length) break;
      if (!ESCAPE_LETTERS.includes(text[offset] as string)) this.#fail('Invalid \\escape', backslash);
      if (text[offset] !== 'u') continue;
      const isComplete = FOUR_HEX_DIGITS.test(text.slice(offset + 1, offset + 5)) && offset + 5 < text.length;
      if (!isComplete) this.#fail('Invalid \\uXXXX escape', backslash + 1);
      offset += 4;
    }
    this.#fail('Unterminated string starting at', start);
  }

  #parseArray(depth: number): Json[] {
    const items: Json[] = [];
    this.#offset++;
    this.#skipSpace();
    if (this.#text[this.#offset] === ']') {
      this.#offset++;
      return items;
    }
    for (;;) {
      items.push(this.#parseValue(depth + 1));
      if (this.#parseSeparator(']')) return items;
    }
  }

  #parseObject(depth: number): JsonObject {
    const entries = new Map<string, Json>();
    this.#offset++;
    this.#skipSpace();
    if (this.#text[this.#offset] === '}') {
      this.#offset++;
      return entries;
    }
    for (;;) {
      if (this.#text[this.#offset] !== '"')
        this.#fail('Expecting property name enclosed in double quotes', this.#offset);
      const key = this.#parseString();
      this.#skipSpace();
      if (this.#text[this.#offset] !== ':') this.#fail("Expecting ':' delimiter", this.#offset);
      this.#offset++;
      this.#skipSpace();
      entries.set(key, this.#parseValue(depth + 1));
      if (this.#parseSeparator('}')) return entries;
    }
  }

  /** Parses the token after an item. Returns true for the closing bracket, false for a comma. */
  #parseSeparator(bracket: string): boolean {
    this.#skipSpace();
    const found = this.#text[this.#offset];
    if (found !== bracket && found !== ',') this.#fail("Expecting ',' delimiter", this.#offset);
    this.#offset++;
    if (found === ',') this.#skipSpace();
    return found === bracket;
  }
}

/** Converts a position from UTF-16 units to characters. Some characters take two units. */
function countCharacters(text: string, units: number): number {
  let count = 0;
  for (let unit = 0; unit < units; count++) unit += (text.codePointAt(unit) as number) > 0xffff ? 2 : 1;
  return count;
}

/** Parses a response of a server. Returns undefined if it is not a JSON object. */
export function parseJsonObject(text: string): JsonObject | undefined {
  try {
    const json = parseJson(text, SERVER_JSON_LIMITS);
    return isJsonObject(json) ? json : undefined;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return undefined;
    throw error;
  }
}
