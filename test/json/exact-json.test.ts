import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonSyntaxError, parseJson, SERVER_JSON_LIMITS } from '../../src/json/exact-json.js';
import { JsonNumber, serializeJson } from '../../src/json/json-value.js';

/** Returns the reason and the position of a syntax error. */
function findSyntaxError(text: string): [string, number] | undefined {
  try {
    parseJson(text);
  } catch (error) {
    if (error instanceof JsonSyntaxError) return [error.message, error.position];
    throw error;
  }
  return undefined;
}

describe('exact JSON', () => {
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
  ])('rejects %j: %s, at character %i', (text, reason, position) => {
    expect(findSyntaxError(text)).toEqual([reason, position]);
  });

  it('keeps numbers as they were written', () => {
    const text = '[1.0,1E5,-0,12345678901234567890,0.10]';
    expect(serializeJson(parseJson(text))).toBe(text);
  });

  it('serializes compact JSON without escapes', () => {
    expect(serializeJson(parseJson(' { "\\u00e9" : [ "\\ud83d\\ude00" , null , true ] } '))).toBe(
      '{"é":["😀",null,true]}',
    );
  });

  it('treats __proto__ as an ordinary key, and keeps the last value of a repeated key', () => {
    expect(serializeJson(parseJson('{"__proto__":1,"a":1,"a":2}'))).toBe('{"__proto__":1,"a":2}');
  });

  it('rejects deep nesting without a stack overflow', () => {
    expect(findSyntaxError('['.repeat(100_000))).toEqual(['Nested deeper than 64 levels', 64]);
    expect(findSyntaxError(`${'['.repeat(64)}${']'.repeat(64)}`)).toBeUndefined();
  });

  it('accepts from a server what it rejects from clients', () => {
    const text = `${'['.repeat(80)}"\\ud800",${'9'.repeat(400)}${']'.repeat(80)}`;
    expect(findSyntaxError(text)).toBeDefined();
    expect(serializeJson(parseJson(text, SERVER_JSON_LIMITS))).toBe(text);
  });

  it('parses any output of JSON.stringify', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(undefined, 2), (value, indent) => {
        expect(JSON.parse(serializeJson(parseJson(JSON.stringify(value, null, indent))))).toEqual(
          JSON.parse(JSON.stringify(value)),
        );
      }),
    );
  });

  it('accepts what JSON.parse accepts, except numbers out of range', () => {
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
        const reason = findSyntaxError(text)?.[0];
        expect(reason === undefined || reason === 'Number out of range').toBe(parses);
      }),
      { numRuns: 3000 },
    );
  });

  it('distinguishes numbers from strings', () => {
    expect(parseJson('1')).toEqual(new JsonNumber('1'));
    expect(parseJson('"1"')).toBe('1');
  });
});
