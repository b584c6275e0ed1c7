import { fileURLToPath } from 'node:url';

/** Returns the path of a project file. Built benchmarks lie in `bench/built`, two folders below the root. */
export function getProjectPath(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
