/** Updates the tables of `docs/performance.md` with the figures of `bench/results`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { withTables } from './performance-page.js';
import { projectFile } from './project-file.js';

const page = projectFile('docs/performance.md');
writeFileSync(
  page,
  withTables(
    readFileSync(page, 'utf8'),
    (results) => JSON.parse(readFileSync(projectFile(`bench/results/${results}.json`), 'utf8')).rows,
  ),
);
