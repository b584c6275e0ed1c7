import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { insertTables } from '../../bench/performance-page.js';

const text = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

it('shows the figures of the last benchmark run', () => {
  const page = text('docs/performance.md');
  expect(
    insertTables(page, (results) => JSON.parse(text(`bench/results/${results}.json`)).rows),
    'update the tables with: npm run bench:tables',
  ).toBe(page);
});

it('rejects a page that lacks a table', () => {
  const rows = () => [];
  expect(() => insertTables('## Lookup\n\nno table\n', rows)).toThrow(
    'docs/performance.md has no table under "Lookup"',
  );
});
