import { SERVER_JSON_LIMITS } from './exact-json.js';

/** A value as `JSON.parse` returns it. */
export type PlainJson = null | boolean | string | number | readonly PlainJson[] | PlainObject;

/** An object as `JSON.parse` returns it. */
export interface PlainObject {
  readonly [key: string]: PlainJson;
}

/** Maximum depth of plain JSON. `JSON.stringify`, which serializes it again, is recursive. */
const MAX_PLAIN_DEPTH = 64;

/** Maximum total weight of all values, which bounds the memory of the result. The same limit as in the exact parser. */
const MAX_PLAIN_WEIGHT = SERVER_JSON_LIMITS.maxWeight ?? 0;

/**
 * Upper bound of the weight of an object or array with its first value. Each further value follows a comma and weighs
 * 1.
 */
const MAX_CONTAINER_WEIGHT = 5;

/** Maximum length of a plain number, in characters. It has at most 15 significant digits, which a double keeps. */
const MAX_NUMBER_LENGTH = 15;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;

/** Returns whether a value is an object. */
export function isPlainObject(value: PlainJson | undefined): value is PlainObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Parses JSON with `JSON.parse`, which takes half the time of the exact parser for a list of replicas. Returns
 * undefined for text that needs the exact parser:
 * - The results could differ: a number such as `1.0`, or a key such as `"1"`, which objects move to the front.
 * - The text is malformed, nested too deeply or has too many values.
 */
export function parsePlainJson(text: string): PlainJson | undefined {
  if (!isPlain(text)) return undefined;
  try {
    return JSON.parse(text) as PlainJson;
  } catch {
    return undefined;
  }
}

/**
 * Returns whether `JSON.parse` gives the result of the exact parser. Malformed text is left to `JSON.parse` to reject.
 */
function isPlain(text: string): boolean {
  let depth = 0;
  let weight = 0;
  for (let index = 0; index < text.length; ) {
    const unit = text.charCodeAt(index);
    if (unit === QUOTE) {
      const end = findStringEnd(text, index);
      if (text.charCodeAt(end) === COLON ? !isPlainKey(text, index, end) : !isValueString(text, end)) return false;
      index = end;
    } else if (unit === 0x2d || isDigit(unit)) {
      const end = findNumberEnd(text, index);
      if (!isPlainNumber(text.slice(index, end))) return false;
      index = end;
    } else {
      if (unit === 0x7b || unit === 0x5b) {
        weight += MAX_CONTAINER_WEIGHT;
        if (++depth > MAX_PLAIN_DEPTH) return false;
      } else if (unit === 0x7d || unit === 0x5d) depth--;
      else if (unit === 0x2c) weight++;
      index++;
    }
    if (weight > MAX_PLAIN_WEIGHT) return false;
  }
  return true;
}

/** Returns the index after the string that starts at `start`. */
function findStringEnd(text: string, start: number): number {
  for (let index = start + 1; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if (unit === QUOTE) return index + 1;
    if (unit === BACKSLASH) index++;
  }
  return text.length;
}

/**
 * Returns whether a string that ends at `end` is a value. False for a key with a space before its colon, which compact
 * JSON never has.
 */
function isValueString(text: string, end: number): boolean {
  let index = end;
  while (text.charCodeAt(index) <= 0x20) index++;
  return text.charCodeAt(index) !== COLON;
}

/**
 * Returns whether an object keeps a key in its place. Objects move array indexes to the front. An escape can encode a
 * digit.
 */
function isPlainKey(text: string, start: number, end: number): boolean {
  if (isDigit(text.charCodeAt(start + 1))) return false;
  for (let index = start + 1; index < end; index++) if (text.charCodeAt(index) === BACKSLASH) return false;
  return true;
}

/** Returns the index after the number that starts at `start`. */
function findNumberEnd(text: string, start: number): number {
  let index = start;
  while (index < text.length && isNumberCharacter(text.charCodeAt(index))) index++;
  return index;
}

/** Returns whether `String(Number(number))` is certain to equal `number`. */
function isPlainNumber(number: string): boolean {
  return number.length <= MAX_NUMBER_LENGTH && String(Number(number)) === number;
}

function isDigit(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39;
}

/** Returns whether a character is a digit, a sign, a point or the letter of an exponent. */
function isNumberCharacter(unit: number): boolean {
  return isDigit(unit) || unit === 0x2e || unit === 0x2d || unit === 0x2b || unit === 0x65 || unit === 0x45;
}
