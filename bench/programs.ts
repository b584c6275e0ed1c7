import { spawnSync } from 'node:child_process';

/** Packages of Debian that have the programs. */
const PACKAGES: Readonly<Record<string, string>> = { nginx: 'nginx-light', taskset: 'util-linux', wrk: 'wrk' };

/** Ends this process with a message if a program that a benchmark needs is missing. */
export function checkPrograms(benchmark: string, ...programs: readonly string[]): void {
  const missing = programs.filter((name) => spawnSync('which', [name]).status !== 0);
  if (missing.length === 0) return;
  const packages = missing.map((name) => PACKAGES[name] ?? name).join(' ');
  console.error(`${benchmark} needs ${missing.join(' and ')}; on Debian: apt-get install ${packages}`);
  process.exit(1);
}
