import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FOLDERS = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
const FILE_NAME = new RegExp(
  `\\b(?:${FOLDERS.map(({ name }) => name).join('|')})/(?:[a-z0-9-]+/)?[a-z0-9-]+(?![\\w./-])`,
  'g',
);

const decisions = readdirSync(join(ROOT, 'docs/decisions')).map((name) => `docs/decisions/${name}`);

it.each(['docs/architecture.md', ...decisions])('%s names files that exist', (page) => {
  const names = readFileSync(join(ROOT, page), 'utf8').match(FILE_NAME) ?? [];
  const isMissing = (name: string): boolean =>
    ['', '.ts', '.tsx'].every((end) => !existsSync(join(ROOT, 'src', name + end)));
  expect(names.filter(isMissing)).toEqual([]);
});

it('finds the names on the architecture page', () => {
  const names = readFileSync(join(ROOT, 'docs/architecture.md'), 'utf8').match(FILE_NAME) ?? [];
  expect(names).toContain('core/index/capability-index');
  expect(names.length).toBeGreaterThan(80);
});
