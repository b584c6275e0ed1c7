import { describe, expect, it } from 'vitest';
import { filterRows, NO_FILTER, parseFilterText } from '../../../src/server/dashboard/fleet-filter.js';
import { findMatches, formatUnmetTerm } from '../../../src/server/dashboard/near-misses.js';
import { fleetRow } from '../../support/fleet-rows.js';

const ROWS = [
  fleetRow('r1', [{ type: 'chat', zone: 'a', ctx: 8192 }]),
  fleetRow('r2', [{ type: 'chat', zone: 'b', ctx: 32768 }], { state: 'draining' }),
  fleetRow('r3', [{ type: 'embedding', zone: 'a' }, { type: 'chat' }]),
  fleetRow('r4'),
];

/** Parses a filter, which must be valid. */
function parse(text: string) {
  const parsed = parseFilterText(text);
  if (parsed.kind === 'error') throw new Error(parsed.message);
  return parsed.filter;
}

const find = (text: string, name = '', state?: 'ready' | 'draining'): string[] =>
  filterRows(ROWS, { capabilities: parse(text), name, state }).map(({ id }) => id);

describe('a filter', () => {
  it.each([
    ['', ['r1', 'r2', 'r3', 'r4']],
    ['  ', ['r1', 'r2', 'r3', 'r4']],
    ['type=chat', ['r1', 'r2', 'r3']],
    ['type=chat zone=a', ['r1']],
    ['type=chat, zone=a', ['r1']],
    ['type=chat,ctx>=10000', ['r2']],
    ['zone in (a,b), !missing', ['r1', 'r2', 'r3']],
    ['type=chat, type=embedding', []],
    ['zone', ['r1', 'r2', 'r3']],
    ['zone!=a', ['r2']],
    ['type="chat"', ['r1', 'r2', 'r3']],
  ])('%j finds %j', (text, ids) => {
    expect(find(text)).toEqual(ids);
  });

  it('can be about the name and the state, too', () => {
    expect(find('', 'R2')).toEqual(['r2']);
    expect(find('', 'r2.TEST:5')).toEqual(['r2']);
    expect(find('type=chat', '', 'draining')).toEqual(['r2']);
    expect(filterRows(ROWS, { capabilities: NO_FILTER, name: 'nothing', state: undefined })).toEqual([]);
  });

  it.each([
    ['type=', 'expected a value ("" is the empty one) at character 6, but the selector ends there'],
    ['ctx>=many', 'expected a decimal number at character 6, but found "m"'],
    ['type=chat zone', 'expected "," or the end at character 11, but found "z"'],
  ])('%j is wrong: %s', (text, message) => {
    expect(parseFilterText(text)).toEqual({ kind: 'error', message });
  });

  it('becomes a query where it can, because servers explain queries best', () => {
    const { query, selector } = parse('type=chat, zone in (a,b), type=x, ctx>=8192, "odd key"="a b"');
    expect(query).toEqual(['type', 'chat', 'odd key', 'a b']);
    expect(selector.text).toBe('zone in (a,b),type=x,ctx>=8192');
    expect(parse('a=1 b= a=2').query).toEqual(['a', '2', 'b', '']);
  });
});

describe('a call', () => {
  const explain = (text: string) => {
    const { matches, misses, missCount } = findMatches(parse(text), ROWS);
    return {
      matches: matches.map(({ id }) => id),
      misses: misses.map(({ row, unmet }) => `${row.id}: ${unmet.map(formatUnmetTerm).join('; ')}`),
      missCount,
    };
  };

  it('is answered by ready replicas first, and nearly by others', () => {
    expect(explain('type=chat')).toEqual({ matches: ['r1', 'r3', 'r2'], misses: [], missCount: 0 });
    expect(explain('type=chat zone=a ctx=4096')).toEqual({
      matches: [],
      misses: [
        'r1: wanted ctx=4096, has ctx=8192',
        'r2: wanted zone=a, has zone=b; wanted ctx=4096, has ctx=32768',
        'r3: wanted type=chat, has type=embedding; wanted ctx=4096, has no ctx',
      ],
      missCount: 3,
    });
  });

  it('with one condition is missed by those with another value', () => {
    expect(explain('zone=c').misses).toEqual([
      'r1: wanted zone=c, has zone=a',
      'r2: wanted zone=c, has zone=b',
      'r3: wanted zone=c, has zone=a',
    ]);
    expect(explain('gpu=1')).toEqual({ matches: [], misses: [], missCount: 0 });
  });

  it('lists at most 50 misses, and counts all', () => {
    const rows = Array.from({ length: 60 }, (_, n) => fleetRow(`r${n}`, [{ a: 1 }]));
    const { misses, missCount } = findMatches(parse('a=1 b=1'), rows);
    expect([misses.length, missCount, misses[2]?.row.id, misses[10]?.row.id]).toEqual([50, 60, 'r2', 'r10']);
  });
});
