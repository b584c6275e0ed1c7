import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  JsonNumber,
  JsonSyntaxError,
  parseJson,
  SERVER_JSON_LIMITS,
  serializeJson,
} from '../../src/json/exact-json.js';

/** The reason and the character at which a text breaks. */
function fault(text: string): [string, number] | undefined {
  try {
    parseJson(text);
  } catch (error) {
    if (error instanceof JsonSyntaxError) return [error.message, error.position];
    throw error;
  }
  return undefined;
}

describe('JSON', () => {
  it.each([
    ['{', 'Expecting property name enclosed in double quotes', 1],
    ['{"a":1,}', 'Expecting property name enclosed in double quotes', 7],
    ["{'a':1}", 'Expecting property name enclosed in double quotes', 1],
    ['nope', 'Expecting value', 0],
    ['', 'Expecting value', 0],
    ['[1,]', 'Expecting value', 3],
    ['{"a" 1}', "Expecting ':' delimiter", 5],
    ['{"a":1 "b":2}', "Expecting ',' delimiter", 7],
    ['[1 2]', "Expecting ',' delimiter", 3],
    ['{"a":"b', 'Unterminated string starting at', 5],
    ['"a\\', 'Unterminated string starting at', 0],
    ['"a\\x"', 'Invalid \\escape', 2],
    ['"\\u12g4"', 'Invalid \\uXXXX escape', 2],
    ['"a\nb"', 'Invalid control character at', 2],
    ['{} x', 'Extra data', 3],
    ['01', 'Extra data', 1],
    ['"😀" x', 'Extra data', 4],
    ['NaN', 'Expecting value', 0],
    ['-', 'Expecting value', 0],
    ['[1e999]', 'Number out of range', 1],
    ['{"a":"\\ud800"}', 'Lone surrogate in string starting at', 5],
    ['"\\udc00\\ud800"', 'Lone surrogate in string starting at', 0],
  ])('says of %j: %s, at character %i', (text, reason, position) => {
    expect(fault(text)).toEqual([reason, position]);
  });

  it('keeps numbers as they were written', () => {
    const text = '[1.0,1E5,-0,12345678901234567890,0.10]';
    expect(serializeJson(parseJson(text))).toBe(text);
  });

  it('writes compact, with the characters themselves', () => {
    expect(serializeJson(parseJson(' { "\\u00e9" : [ "\\ud83d\\ude00" , null , true ] } '))).toBe(
      '{"é":["😀",null,true]}',
    );
  });

  it('takes __proto__ for a key, and of a repeated key the last value', () => {
    expect(serializeJson(parseJson('{"__proto__":1,"a":1,"a":2}'))).toBe('{"__proto__":1,"a":2}');
  });

  it('refuses deep nesting without running out of stack', () => {
    expect(fault('['.repeat(100_000))).toEqual(['Nested deeper than 64 levels', 64]);
    expect(fault(`${'['.repeat(64)}${']'.repeat(64)}`)).toBeUndefined();
  });

  it('shows from a server whatever that took from others', () => {
    const text = `${'['.repeat(80)}"\\ud800",${'9'.repeat(400)}${']'.repeat(80)}`;
    expect(fault(text)).toBeDefined();
    expect(serializeJson(parseJson(text, SERVER_JSON_LIMITS))).toBe(text);
  });

  it('reads back what JSON.stringify writes, whatever it is', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(undefined, 2), (value, indent) => {
        expect(JSON.parse(serializeJson(parseJson(JSON.stringify(value, null, indent))))).toEqual(
          JSON.parse(JSON.stringify(value)),
        );
      }),
    );
  });

  it('takes exactly what JSON.parse takes, but for what it refuses on purpose', () => {
    const alphabet = [
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"',
      '\\',
      'u0041',
      'n',
      '1',
      '-',
      '.',
      'e',
      '0',
      'true',
      'null',
      ' ',
      '\n',
      'a',
      '/',
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...alphabet), { maxLength: 12 }), (pieces) => {
        const text = pieces.join('');
        let parses = true;
        try {
          JSON.parse(text);
        } catch {
          parses = false;
        }
        const reason = fault(text)?.[0];
        expect(reason === undefined || reason === 'Number out of range').toBe(parses);
      }),
      { numRuns: 3000 },
    );
  });

  it('tells numbers from texts', () => {
    expect(parseJson('1')).toEqual(new JsonNumber('1'));
    expect(parseJson('"1"')).toBe('1');
  });
});
