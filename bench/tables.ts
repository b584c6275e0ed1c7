/** Updates the tables of `docs/performance.md` and `docs/scale.md` with the figures of `bench/results`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { insertTables, PERFORMANCE_TABLES } from './performance-page.js';
import { getProjectPath } from './project-file.js';
import { SCALE_TABLES } from './scale-page.js';

for (const [name, tables] of Object.entries({ performance: PERFORMANCE_TABLES, scale: SCALE_TABLES })) {
  const page = getProjectPath(`docs/${name}.md`);
  writeFileSync(
    page,
    insertTables(
      readFileSync(page, 'utf8'),
      tables,
      (results) => JSON.parse(readFileSync(getProjectPath(`bench/results/${results}.json`), 'utf8')).rows,
    ),
  );
}
