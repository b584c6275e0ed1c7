import { fileURLToPath } from 'node:url';

/** A Python with the packages of requirements.txt; `npm run test:interop` installs one. */
export const PYTHON = process.env['ANYSERVE_TEST_PYTHON'] ?? 'python3';

/** The path of a file beside the tests. */
export const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
