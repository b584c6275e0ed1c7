import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AnyserveError } from '../../src/core/errors.js';
import type { SelectorTerm } from '../../src/core/selector.js';
import { parseSelector } from '../../src/core/selector-parser.js';

function parse(text: string): readonly SelectorTerm[] {
  return parseSelector(text, '--where').terms;
}

/** Returns the error message of a selector that can't be parsed. */
function getParseError(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof AnyserveError && error.code === 'usage') return error.message;
    throw error;
  }
  throw new Error(`${text} was parsed`);
}

const of = (kind: 'in' | 'notin', key: string, ...values: string[]) => ({ kind, key, values: new Set(values) });

describe('a selector', () => {
  it.each<[string, object[]]>([
    ['', []],
    ['  ', []],
    ['type=chat', [of('in', 'type', 'chat')]],
    ['type==chat', [of('in', 'type', 'chat')]],
    ['type != chat', [of('notin', 'type', 'chat')]],
    ['zone in (a,b)', [of('in', 'zone', 'a', 'b')]],
    ['zone in(a , "b c")', [of('in', 'zone', 'a', 'b c')]],
    ['zone notin (a)', [of('notin', 'zone', 'a')]],
    ['gpu', [{ kind: 'exists', key: 'gpu' }]],
    ['!gpu', [{ kind: 'absent', key: 'gpu' }]],
    ['! gpu', [{ kind: 'absent', key: 'gpu' }]],
    ['in', [{ kind: 'exists', key: 'in' }]],
    ['in in (in)', [of('in', 'in', 'in')]],
    ['notin=in', [of('in', 'notin', 'in')]],
    ['ctx>=8192', [{ kind: 'compare', key: 'ctx', operator: '>=', number: { text: '8192', value: 8192 } }]],
    ['ctx<-0.5', [{ kind: 'compare', key: 'ctx', operator: '<', number: { text: '-0.5', value: -0.5 } }]],
    ['ctx > "1e3"', [{ kind: 'compare', key: 'ctx', operator: '>', number: { text: '1e3', value: 1000 } }]],
    ['model="meta-llama/Llama-3:8b"', [of('in', 'model', 'meta-llama/Llama-3:8b')]],
    ['model=meta-llama/Llama-3:8b', [of('in', 'model', 'meta-llama/Llama-3:8b')]],
    ['"a key"=""', [of('in', 'a key', '')]],
    [String.raw`a="\"\\"`, [of('in', 'a', '"\\')]],
    ['größe=😀', [of('in', 'größe', '😀')]],
    ['a=1,\tb,\n!c', [of('in', 'a', '1'), { kind: 'exists', key: 'b' }, { kind: 'absent', key: 'c' }]],
    ['__proto__=toString', [of('in', '__proto__', 'toString')]],
  ])('parses %j', (text, terms) => {
    expect(parse(text)).toEqual(terms);
  });

  const OPERATOR = 'an operator ("=", "!=", "in", "notin", ">", ">=", "<", "<="), "," or the end';
  const VALUE = 'a value ("" is the empty one)';

  it.each([
    ['type=', `expected ${VALUE} at character 6, but the selector ends there`],
    ['type=,gpu', `expected ${VALUE} at character 6, but found ","`],
    ['type=chat gpu', 'expected "," or the end at character 11, but found "g"'],
    ['type chat', `expected ${OPERATOR} at character 6, but found "c"`],
    ['type!', `expected ${OPERATOR} at character 5, but found "!"`],
    ['type(', `expected ${OPERATOR} at character 5, but found "("`],
    ['a=1,', 'expected a key or "!" at character 5, but the selector ends there'],
    [',a=1', 'expected a key or "!" at character 1, but found ","'],
    ['=1', 'expected a key or "!" at character 1, but found "="'],
    ['!', 'expected a key at character 2, but the selector ends there'],
    ['!a=1', 'expected "," or the end at character 3, but found "="'],
    ['a===1', `expected ${VALUE} at character 4, but found "="`],
    ['zone in a', 'expected "(" at character 9, but found "a"'],
    ['zone in (', `expected ${VALUE} at character 10, but the selector ends there`],
    ['zone in ()', `expected ${VALUE} at character 10, but found ")"`],
    ['zone in (a', 'expected "," or ")" at character 11, but the selector ends there'],
    ['zone in (a,)', `expected ${VALUE} at character 12, but found ")"`],
    ['ctx>big', 'expected a decimal number at character 5, but found "b"'],
    ['ctx > ', 'expected a decimal number at character 7, but the selector ends there'],
    ['ctx>=0x10', 'expected a decimal number at character 6, but found "0"'],
    ['a="b', 'expected a closing quote at character 5, but the selector ends there'],
    ['a="b\\n"', 'expected " or \\ after \\ at character 6, but found "n"'],
    ['a="b\\', 'expected " or \\ after \\ at character 6, but the selector ends there'],
    ['a=b"c"', `expected "," or the end at character 4, but found '"'`],
    ['😀=😀 x', 'expected "," or the end at character 5, but found "x"'],
    ['a=\u0007', `expected ${VALUE} at character 3, but found "\\u0007"`],
  ])('points at the character that is wrong in %j', (text, message) => {
    expect(getParseError(text)).toBe(`--where: ${message}`);
  });

  it('has at most 32 terms', () => {
    const create = (count: number): string => Array.from({ length: count }, (_, n) => `k${n % 10}`).join(',');
    expect(parse(create(32))).toHaveLength(32);
    expect(getParseError(create(33))).toBe(
      '--where: expected the end: a selector has at most 32 terms at character 97, but found "k"',
    );
  });

  it('has at most 4,096 bytes', () => {
    expect(parse(`a=${'x'.repeat(4094)}`)).toHaveLength(1);
    const message = '--where: the selector is too long; give at most 4096 bytes';
    expect(getParseError(`a=${'x'.repeat(4095)}`)).toBe(message);
    expect(getParseError(`a=${'é'.repeat(2048)}`)).toBe(message);
    expect(getParseError('x'.repeat(1_000_000))).toBe(message);
  });

  it('parses to any quoted keys and values', () => {
    const quoteText = (text: string): string => `"${text.replace(/["\\]/g, '\\$&')}"`;
    const anyText = fc.string({ unit: 'binary', maxLength: 40 });
    fc.assert(
      fc.property(anyText, fc.uniqueArray(anyText, { minLength: 1, maxLength: 5 }), (key, values) => {
        const text = `${quoteText(key)} in (${values.map(quoteText).join(', ')})`;
        expect(parse(text)).toEqual([of('in', key, ...values)]);
      }),
    );
  });
});
