import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { formatTable } from '../../src/cli/table.js';
import { getHelpColumns, measureWidth, truncateToWidth } from '../../src/cli/terminal-width.js';

/** Creates a terminal of a width, or a pipe. */
function createOutput(columns?: number, env: Record<string, string> = {}) {
  const stdout = Object.assign(new Writable(), columns === undefined ? {} : { isTTY: true, columns });
  return { stdout, env: { NO_COLOR: '1', ...env } };
}

const HEAD = ['REPLICA', 'ENDPOINT', 'CAPABILITIES'];

function splitLines(text: string): string[] {
  expect(text.endsWith('\n')).toBe(true);
  return text.slice(0, -1).split('\n');
}

describe('formatTable', () => {
  it('makes each column as wide as its widest cell, without trailing spaces', () => {
    const rows = [
      ['r1', 'gpu7:8001', 'model=a'],
      ['replica-2', 'b:1', ''],
    ];
    expect(formatTable(HEAD, rows, createOutput())).toBe(
      'REPLICA     ENDPOINT    CAPABILITIES\nr1          gpu7:8001   model=a\nreplica-2   b:1\n',
    );
  });

  it('truncates nothing in a pipe, where one long cell does not widen the other rows', () => {
    for (const longColumn of [0, 1, 2]) {
      const long = ['r1', 'a:1', 'model=a'].map((text, column) => (column === longColumn ? 'x'.repeat(58_000) : text));
      const lines = splitLines(
        formatTable(HEAD, [long, ['r2', 'b:1', 'model=b']], createOutput(undefined, { COLUMNS: '40' })),
      );
      expect(lines[1]).toContain('x'.repeat(58_000));
      expect(lines[2]).toBe('r2        b:1        model=b');
    }
  });

  it.each([20, 21, 30, 40, 80, 200])('fits any content into a terminal of %i columns', (columns) => {
    const texts = ['x', 'x'.repeat(500), '模型'.repeat(300), '👩‍👩‍👧'.repeat(100), 'e\u0301'.repeat(200), ''];
    const rows = texts.flatMap((a) => texts.map((b) => [a, 'localhost:50051', b]));
    for (const line of splitLines(formatTable(HEAD, rows, createOutput(columns))))
      expect(measureWidth(line)).toBeLessThanOrEqual(columns);
  });

  it('uses narrow gaps for many columns when the table does not fit otherwise', () => {
    const head = ['REPLICA', 'ENDPOINT', 'STATE', 'SINCE', 'SEEN', 'CAPABILITIES'];
    const rows = [['w1', '127.0.0.1:50051', 'ready', '2s', '1s', 'type=chat']];
    for (const columns of [20, 30, 40, 59])
      for (const line of splitLines(formatTable(head, rows, createOutput(columns))))
        expect(measureWidth(line)).toBeLessThanOrEqual(columns);
    expect(splitLines(formatTable(head, rows, createOutput(40)))[1]).toBe('w1      127.0.… ready 2s    1s   type=c…');
    expect(splitLines(formatTable(head, rows, createOutput(80)))[1]).toContain(
      'w1        127.0.0.1:50051   ready   2s',
    );
  });

  it('shrinks the widest columns and marks truncated cells', () => {
    const rows = [['r1', 'localhost:50051', 'model=a-model-with-a-long-name,type=chat']];
    expect(splitLines(formatTable(HEAD, rows, createOutput(50)))[1]).toBe(
      'r1        localhost:50051   model=a-model-with-a-…',
    );
    expect(splitLines(formatTable(HEAD, rows, createOutput(80)))[1]).toBe(
      `r1        localhost:50051   ${rows[0]?.[2]}`,
    );
  });

  it('uses the smaller of terminal width and COLUMNS, and 80 when neither is known', () => {
    const rows = [['r1', 'a:1', 'x'.repeat(300)]];
    const width = (columns: number, env?: Record<string, string>): number =>
      splitLines(formatTable(HEAD, rows, createOutput(columns, env)))[1]?.length ?? 0;
    expect(width(100)).toBe(100);
    expect(width(100, { COLUMNS: '60' })).toBe(60);
    expect(width(60, { COLUMNS: '100' })).toBe(60);
    expect(width(0, { COLUMNS: '70' })).toBe(70);
    expect(width(0)).toBe(80);
    expect(width(100, { COLUMNS: 'wide' })).toBe(100);
  });

  it.each([undefined, 30, 80])(
    'gives the same result when the table is too large for cli-table3 (%s columns)',
    (columns) => {
      const texts = ['', 'r1', 'localhost:50051', '模型', 'x'.repeat(90)];
      const rows = texts.flatMap((a) => texts.map((b) => [a, b, `${b}${a}`.slice(0, 95)]));
      const large = Array.from({ length: 20 }).flatMap(() => rows);
      const [small, start] = [rows, large].map((some) =>
        splitLines(formatTable(HEAD, some, createOutput(columns))).slice(0, 26),
      );
      expect(small).toEqual(start);
    },
  );

  it('aligns columns after wide characters', () => {
    const rows = [
      ['模型', 'a:1', 'x'],
      ['ab🪿', 'a:1', 'x'],
    ];
    expect(splitLines(formatTable(HEAD, rows, createOutput()))).toEqual([
      'REPLICA   ENDPOINT   CAPABILITIES',
      '模型      a:1        x',
      'ab🪿      a:1        x',
    ]);
  });

  it.each<[string, (row: number) => string[]]>([
    ['one of 58 KB', (row) => [`r${row}`, 'a:1', row === 5000 ? 'x'.repeat(58_000) : 'model=a']],
    ['one of 58 KB in the first column', (row) => [row === 5000 ? 'x'.repeat(58_000) : `r${row}`, 'a:1', 'model=a']],
    ['one of 1 MB of spaces between two letters', (row) => ['r', 'a', row === 5 ? `x${' '.repeat(1_000_000)}y` : 'x']],
    [
      'one of 4,096 objects',
      (row) => ['r', 'a:1', (row === 5 ? Array(4096).fill('model=a,type=chat') : ['a']).join('; ')],
    ],
    ['all wide', (row) => [`r${row}`, 'a:1', 'model=a; '.repeat(200)]],
    ['all wide in each column', (row) => ['x'.repeat(200), 'y'.repeat(200), `${row}${'z'.repeat(200)}`]],
    ['all of accents and emoji', (row) => [`é🦙${row}`, 'a:1', `model=é🦙${row}`]],
    ['all Chinese', () => ['模型'.repeat(10), '模型'.repeat(10), '模型'.repeat(50)]],
    ['one of 100,000 combining marks', (row) => ['r', `e${'\u0301'.repeat(row === 5 ? 100_000 : 1)}`, 'x']],
  ])('takes linear time for 10,000 rows, %s', (_description, createRow) => {
    const rows = Array.from({ length: 10_000 }, (_, row) => createRow(row));
    for (const columns of [undefined, 80]) {
      const before = process.cpuUsage();
      formatTable(HEAD, rows, createOutput(columns));
      const { user } = process.cpuUsage(before);
      // Under 1 s on an idle machine. Quadratic work would take minutes.
      expect(user / 1000).toBeLessThan(5000);
    }
  });
});

describe('truncateToWidth', () => {
  it.each([
    ['abc', 3, 'abc'],
    ['abcd', 3, 'ab…'],
    ['模型', 4, '模型'],
    ['模型x', 4, '模…'],
    ['a模型', 4, 'a模…'],
    ['👩‍👩‍👧👩‍👩‍👧', 3, '👩‍👩‍👧…'],
    ['e\u0301e\u0301', 2, 'e\u0301e\u0301'],
    ['e\u0301e\u0301e', 2, 'e\u0301…'],
    ['', 3, ''],
    ['abc', 1, '…'],
  ])('truncates %j to %i columns as %j', (text, columns, truncated) => {
    expect(truncateToWidth(text, columns)).toBe(truncated);
  });
});

describe('getHelpColumns', () => {
  it('returns the width of the terminal, from 40 to 100 columns', () => {
    const width = (columns?: number, env: Record<string, string> = {}) =>
      getHelpColumns(createOutput(columns).stdout, env);
    expect([width(30), width(60), width(200), width()]).toEqual([40, 60, 100, 100]);
    expect([width(undefined, { COLUMNS: '60' }), width(60, { COLUMNS: '50' }), width(0)]).toEqual([60, 50, 80]);
  });
});
