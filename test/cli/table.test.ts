import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { formatTable } from '../../src/cli/table.js';
import { getHelpColumns, measureWidth, truncateToWidth } from '../../src/cli/terminal-width.js';

/** A terminal of a width, or a pipe. */
function screen(columns?: number, env: Record<string, string> = {}) {
  const stdout = Object.assign(new Writable(), columns === undefined ? {} : { isTTY: true, columns });
  return { stdout, env: { NO_COLOR: '1', ...env } };
}

const HEAD = ['REPLICA', 'ENDPOINT', 'CAPABILITIES'];

function linesOf(text: string): string[] {
  expect(text.endsWith('\n')).toBe(true);
  return text.slice(0, -1).split('\n');
}

describe('a table', () => {
  it('has columns as wide as their widest cells, and no spaces at the end of a line', () => {
    const rows = [
      ['r1', 'gpu7:8001', 'model=a'],
      ['replica-2', 'b:1', ''],
    ];
    expect(formatTable(HEAD, rows, screen())).toBe(
      'REPLICA     ENDPOINT    CAPABILITIES\nr1          gpu7:8001   model=a\nreplica-2   b:1\n',
    );
  });

  it('cuts nothing in a pipe, where one long cell does not widen the other rows', () => {
    for (const at of [0, 1, 2]) {
      const long = ['r1', 'a:1', 'model=a'].map((text, column) => (column === at ? 'x'.repeat(58_000) : text));
      const lines = linesOf(formatTable(HEAD, [long, ['r2', 'b:1', 'model=b']], screen(undefined, { COLUMNS: '40' })));
      expect(lines[1]).toContain('x'.repeat(58_000));
      expect(lines[2]).toBe('r2        b:1        model=b');
    }
  });

  it.each([20, 21, 30, 40, 80, 200])('fits a terminal of %i columns, whatever is in it', (columns) => {
    const texts = ['x', 'x'.repeat(500), '模型'.repeat(300), '👩‍👩‍👧'.repeat(100), 'e\u0301'.repeat(200), ''];
    const rows = texts.flatMap((a) => texts.map((b) => [a, 'localhost:50051', b]));
    for (const line of linesOf(formatTable(HEAD, rows, screen(columns))))
      expect(measureWidth(line)).toBeLessThanOrEqual(columns);
  });

  it('of many columns has narrow gaps where it does not fit otherwise', () => {
    const head = ['REPLICA', 'ENDPOINT', 'STATE', 'SINCE', 'SEEN', 'CAPABILITIES'];
    const rows = [['w1', '127.0.0.1:50051', 'ready', '2s', '1s', 'type=chat']];
    for (const columns of [20, 30, 40, 59])
      for (const line of linesOf(formatTable(head, rows, screen(columns))))
        expect(measureWidth(line)).toBeLessThanOrEqual(columns);
    expect(linesOf(formatTable(head, rows, screen(40)))[1]).toBe('w1      127.0.… ready 2s    1s   type=c…');
    expect(linesOf(formatTable(head, rows, screen(80)))[1]).toContain('w1        127.0.0.1:50051   ready   2s');
  });

  it('has the widest columns give way, and marks what is cut', () => {
    const rows = [['r1', 'localhost:50051', 'model=a-model-with-a-long-name,type=chat']];
    expect(linesOf(formatTable(HEAD, rows, screen(50)))[1]).toBe('r1        localhost:50051   model=a-model-with-a-…');
    expect(linesOf(formatTable(HEAD, rows, screen(80)))[1]).toBe(`r1        localhost:50051   ${rows[0]?.[2]}`);
  });

  it('takes the narrower of the width of the terminal and COLUMNS, and 80 when neither is known', () => {
    const rows = [['r1', 'a:1', 'x'.repeat(300)]];
    const width = (columns: number, env?: Record<string, string>): number =>
      linesOf(formatTable(HEAD, rows, screen(columns, env)))[1]?.length ?? 0;
    expect(width(100)).toBe(100);
    expect(width(100, { COLUMNS: '60' })).toBe(60);
    expect(width(60, { COLUMNS: '100' })).toBe(60);
    expect(width(0, { COLUMNS: '70' })).toBe(70);
    expect(width(0)).toBe(80);
    expect(width(100, { COLUMNS: 'wide' })).toBe(100);
  });

  it.each([undefined, 30, 80])('looks the same when it is too large for cli-table3 (%s columns)', (columns) => {
    const texts = ['', 'r1', 'localhost:50051', '模型', 'x'.repeat(90)];
    const rows = texts.flatMap((a) => texts.map((b) => [a, b, `${b}${a}`.slice(0, 95)]));
    const large = Array.from({ length: 20 }).flatMap(() => rows);
    const [small, start] = [rows, large].map((some) => linesOf(formatTable(HEAD, some, screen(columns))).slice(0, 26));
    expect(small).toEqual(start);
  });

  it('aligns columns behind wide characters', () => {
    const rows = [
      ['模型', 'a:1', 'x'],
      ['ab🪿', 'a:1', 'x'],
    ];
    expect(linesOf(formatTable(HEAD, rows, screen()))).toEqual([
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
  ])('of 10,000 rows, %s, takes no time that grows with its square', (_what, rowOf) => {
    const rows = Array.from({ length: 10_000 }, (_, row) => rowOf(row));
    for (const columns of [undefined, 80]) {
      const before = process.cpuUsage();
      formatTable(HEAD, rows, screen(columns));
      const { user } = process.cpuUsage(before);
      // Under a second on a machine that has nothing else to do.
      expect(user / 1000).toBeLessThan(2000);
    }
  });
});

describe('a text', () => {
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
  ])('%j cut to %i columns is %j', (text, columns, cut) => {
    expect(truncateToWidth(text, columns)).toBe(cut);
  });
});

describe('the help', () => {
  it('is as wide as the terminal, from 40 to 100 columns', () => {
    const width = (columns?: number, env: Record<string, string> = {}) => getHelpColumns(screen(columns).stdout, env);
    expect([width(30), width(60), width(200), width()]).toEqual([40, 60, 100, 100]);
    expect([width(undefined, { COLUMNS: '60' }), width(60, { COLUMNS: '50' }), width(0)]).toEqual([60, 50, 80]);
  });
});
