/** Updates the tables of `docs/performance.md` with the figures of `bench/results`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { insertTables } from './performance-page.js';
import { getProjectPath } from './project-file.js';

const page = getProjectPath('docs/performance.md');
writeFileSync(
  page,
  insertTables(
    readFileSync(page, 'utf8'),
    (results) => JSON.parse(readFileSync(getProjectPath(`bench/results/${results}.json`), 'utf8')).rows,
  ),
);
