import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { projectFile } from './project-file.js';

/** A line of a benchmark's table: what was measured, and its figures, with their units in their names. */
export interface Row {
  readonly what: string;
  readonly [figure: string]: number | string;
}

/** A benchmark's table. */
export interface Report {
  /** What the file of its figures is called. */
  readonly name: string;
  readonly rows: readonly Row[];
  /** The figures that are compared with the last run's, and which way they are better: ratios, as far as there are any. */
  readonly compared: Readonly<Record<string, 'more' | 'less'>>;
}

/** A change by more than this is told. */
const NOTICED = 0.1;

interface Results {
  readonly node: string;
  readonly cpu: string | undefined;
  readonly cores: number;
  readonly rows: readonly Row[];
}

/**
 * Prints a benchmark's table, and what has changed since the figures that were kept; then keeps these. Lines that were
 * not measured this time stay as they were.
 */
export function report({ name, rows, compared }: Report): void {
  const folder = projectFile('bench/results');
  const file = `${folder}/${name}.json`;
  const before = resultsFrom(file);
  console.table(Object.fromEntries(rows.map(({ what, ...figures }) => [what, figures])));
  const changes = rows.flatMap((row) => changesOf(row, before?.rows ?? [], compared));
  console.log(before ? [`since bench/results/${name}.json:`, ...changes].join('\n  ') : 'first run');
  if (before && changes.length === 0) console.log('  nothing has changed by more than a tenth');
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

function resultsFrom(file: string): Results | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function changesOf(row: Row, before: readonly Row[], compared: Report['compared']): string[] {
  const last = before.find(({ what }) => what === row.what);
  return Object.entries(compared).flatMap(([figure, better]) => {
    const [now, then] = [row[figure], last?.[figure]];
    if (typeof now !== 'number' || typeof then !== 'number' || then === 0) return [];
    const change = now / then - 1;
    if (Math.abs(change) <= NOTICED) return [];
    const verdict = change > 0 === (better === 'more') ? 'better' : 'WORSE';
    return [
      `${verdict}: ${row.what}, ${figure} ${then} -> ${now} (${change > 0 ? '+' : ''}${Math.round(change * 100)} %)`,
    ];
  });
}
