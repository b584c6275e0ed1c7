import { fileURLToPath } from 'node:url';

/** The path of a file of the project. The benchmarks are built two folders below its root, as deep as `dist` has its files. */
export function projectFile(path: string): string {
  return fileURLToPath(new URL(`../../${path}`, import.meta.url));
}
