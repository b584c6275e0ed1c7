import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatExcludeHeader, parseExcludeHeader, parseQuery, serializeQuery } from '../../src/api/query.js';
import { createPairs, listPairs } from '../../src/core/capability.js';
import { asReplicaId } from '../../src/core/ids.js';

describe('query', () => {
  it.each<[string, [string, string][]]>([
    ['', []],
    [
      'model=qwen2&type=chat',
      [
        ['model', 'qwen2'],
        ['type', 'chat'],
      ],
    ],
    ['a=1&a=2', [['a', '2']]],
    ['a+b=c+d', [['a b', 'c d']]],
    [
      'a=%zz&b=%',
      [
        ['a', '%zz'],
        ['b', '%'],
      ],
    ],
    ['a=%ff', [['a', '\ufffd']]],
    ['a=%C3%A9', [['a', 'é']]],
    ['a', [['a', '']]],
    ['=x&&', [['', 'x']]],
    ['?a=1', [['?a', '1']]],
    ['a=b=c', [['a', 'b=c']]],
    [' a = b ', [[' a ', ' b ']]],
    [
      '__proto__=x&constructor=y',
      [
        ['__proto__', 'x'],
        ['constructor', 'y'],
      ],
    ],
  ])('parses %j', (search, pairs) => {
    expect(listPairs(parseQuery(search))).toEqual(pairs);
  });

  it('parses what it serializes', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }))), (pairs) => {
        const query = createPairs(new Map(pairs));
        expect(parseQuery(serializeQuery(query))).toEqual(query);
      }),
    );
  });

  it('parses the ids to exclude, with spaces around the commas', () => {
    expect(parseExcludeHeader('r1, r2,,')).toEqual(['r1', 'r2']);
    expect(parseExcludeHeader('')).toEqual([]);
    expect(parseExcludeHeader('100%')).toEqual(['100%']);
  });

  it('encodes ids with characters that a header cannot contain', () => {
    const excluded = ['a,b', 'é', 'line\nbreak', '100%'].map(asReplicaId);
    const header = formatExcludeHeader(excluded);
    expect(header).toMatch(/^[!-~]+$/);
    expect(parseExcludeHeader(header)).toEqual(excluded);
  });
});
