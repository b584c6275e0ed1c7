/**
 * Loaded into a process with `--expose-gc --import heap-probe.mjs?file=FILE`: on SIGUSR2, collects garbage and writes the size of the
 * heap in bytes to the file.
 */
import { renameSync, writeFileSync } from 'node:fs';

const file = new URL(import.meta.url).searchParams.get('file') ?? '';

process.on('SIGUSR2', () => {
  for (let pass = 0; pass < 3; pass++) globalThis.gc?.();
  // Renamed, so that a reader never sees a part of it.
  writeFileSync(`${file}.new`, String(process.memoryUsage().heapUsed));
  renameSync(`${file}.new`, file);
});
