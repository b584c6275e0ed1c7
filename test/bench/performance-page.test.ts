import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { withTables } from '../../bench/performance-page.js';

const text = (path: string): string => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');

it('tells the figures that were measured last', () => {
  const page = text('docs/performance.md');
  expect(
    withTables(page, (results) => JSON.parse(text(`bench/results/${results}.json`)).rows),
    'npm run bench:tables writes them again',
  ).toBe(page);
});

it('refuses a page without one of the tables', () => {
  const rows = () => [];
  expect(() => withTables('## Lookup\n\nno table\n', rows)).toThrow('there is no table under "Lookup"');
});
