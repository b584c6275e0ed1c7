import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { insertTables, PERFORMANCE_TABLES } from '../../bench/performance-page.js';
import { SCALE_TABLES } from '../../bench/scale-page.js';

const text = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

it.each([
  ['docs/performance.md', PERFORMANCE_TABLES],
  ['docs/scale.md', SCALE_TABLES],
])('%s shows the figures of the last benchmark run', (path, tables) => {
  const page = text(path);
  expect(
    insertTables(page, tables, (results) => JSON.parse(text(`bench/results/${results}.json`)).rows),
    'update the tables with: npm run bench:tables',
  ).toBe(page);
});

it('rejects a page that lacks a table', () => {
  const rows = () => [];
  expect(() => insertTables('## Lookup\n\nno table\n', PERFORMANCE_TABLES, rows)).toThrow(
    'the page has no table under "Lookup"',
  );
});
