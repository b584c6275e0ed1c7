import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { getProjectPath } from './project-file.js';

/** A row of a benchmark's table. The names of its figures include their units. */
export interface Row {
  readonly what: string;
  readonly [figure: string]: number | string;
}

/** A benchmark's table. */
export interface Report {
  /** Name of the results file, without folder and extension. */
  readonly name: string;
  readonly rows: readonly Row[];
  /** Figures to compare with the last run, and which direction is better. Use ratios where they exist: they vary less between runs. */
  readonly compared: Readonly<Record<string, 'more' | 'less'>>;
}

/** Relative changes up to this are not reported. */
const MIN_REPORTED_CHANGE = 0.1;

interface Results {
  readonly node: string;
  readonly cpu: string | undefined;
  readonly cores: number;
  readonly rows: readonly Row[];
}

/**
 * Prints a benchmark's table and its changes since the last run, then saves the figures. Rows that were not measured this
 * time keep their last figures.
 */
export function report({ name, rows, compared }: Report): void {
  const folder = getProjectPath('bench/results');
  const file = `${folder}/${name}.json`;
  const before = readResults(file);
  console.table(Object.fromEntries(rows.map(({ what, ...figures }) => [what, figures])));
  const changes = rows.flatMap((row) => describeChanges(row, before?.rows ?? [], compared));
  console.log(before ? [`since bench/results/${name}.json:`, ...changes].join('\n  ') : 'first run');
  if (before && changes.length === 0) console.log('  no change of more than 10 %');
  const measured = new Set(rows.map(({ what }) => what));
  const kept = (before?.rows ?? []).filter(({ what }) => !measured.has(what));
  const results: Results = {
    node: process.version,
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    rows: [...rows, ...kept],
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`);
}

function readResults(file: string): Results | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function describeChanges(row: Row, before: readonly Row[], compared: Report['compared']): string[] {
  const last = before.find(({ what }) => what === row.what);
  return Object.entries(compared).flatMap(([figure, better]) => {
    const [now, then] = [row[figure], last?.[figure]];
    if (typeof now !== 'number' || typeof then !== 'number' || then === 0) return [];
    const change = now / then - 1;
    if (Math.abs(change) <= MIN_REPORTED_CHANGE) return [];
    const verdict = change > 0 === (better === 'more') ? 'better' : 'WORSE';
    return [
      `${verdict}: ${row.what}, ${figure} ${then} -> ${now} (${change > 0 ? '+' : ''}${Math.round(change * 100)} %)`,
    ];
  });
}
