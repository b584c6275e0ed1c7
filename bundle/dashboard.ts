/**
 * Builds the dashboard of the API server in dist/dashboard: one script, one style sheet and the page. See
 * src/server/dashboard/README.md.
 */
import { copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { writeLicenses } from './licenses.js';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const SOURCE = here('../src/server/dashboard');
const OUT = here('../dist/dashboard');

rmSync(OUT, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: [
    { in: `${SOURCE}/main.tsx`, out: 'dashboard' },
    { in: `${SOURCE}/dashboard.css`, out: 'dashboard' },
  ],
  outdir: OUT,
  bundle: true,
  format: 'esm',
  platform: 'browser',
  // Browsers of 2023 and later.
  target: ['chrome115', 'firefox115', 'safari16.5'],
  jsx: 'automatic',
  jsxImportSource: 'preact',
  minify: true,
  legalComments: 'none',
  metafile: true,
  absWorkingDir: here('..'),
  logLevel: 'warning',
});
for (const file of ['index.html', 'icon.svg']) copyFileSync(`${SOURCE}/${file}`, `${OUT}/${file}`);
writeLicenses(metafile, here('..'), `${OUT}/LICENSES.txt`);
