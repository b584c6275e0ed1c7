import { fileURLToPath } from 'node:url';

/** A Python with the packages of requirements.txt; `npm run test:interop` installs one. */
export const PYTHON = process.env['ANYSERVE_TEST_PYTHON'] ?? 'python3';

/** Returns the path of a file in the folder of the interop tests. */
export const getInteropPath = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
