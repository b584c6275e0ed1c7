/**
 * Builds the bundle of the command line in dist/bundle, which `bin/anyserve.js` loads. It consists of a few small files,
 * because a command that makes one request spends most of its time loading code. See docs/decisions/0016-the-bundle.md.
 */
import { createHash } from 'node:crypto';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { writeLicenses } from './licenses.js';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const OUT = here('../dist/bundle');

/**
 * The long-running commands, which are not in this bundle, and the folders in `dist` that contain them. `worker` shares modules with
 * users' modules that import this package. `gateway` has a separate bundle: see `bundle/gateway.ts`.
 */
const LONG_RUNNING: Readonly<Record<string, string>> = {
  gateway: 'bundle/gateway',
  register: 'cli',
  serve: 'cli',
  worker: 'cli',
};

const leaveLongRunning: Plugin = {
  name: 'leave long-running commands',
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/\w+-command\.js$/ }, ({ kind, path }) => {
      const file = path.slice('./'.length);
      const folder = LONG_RUNNING[file.replace('-command.js', '')];
      return kind === 'dynamic-import' && folder ? { path: `../${folder}/${file}`, external: true } : undefined;
    });
  },
};

/** Parts of packages that are slow to load and that the command line doesn't need, with the files here that replace them. */
const STAND_INS: readonly (readonly [path: RegExp, standIn: string])[] = [
  [/^\.\/lib\/platform-shims\/esm\.mjs$/, 'yargs-platform.js'],
  [/^string-width$/, 'string-width.cjs'],
  [/^#supports-color$/, 'supports-color.js'],
  [/^@grpc\/grpc-js$/, 'grpc-client.js'],
  [/^net$/, 'net.cjs'],
];

const standIn: Plugin = {
  name: 'stand in',
  setup({ onResolve, resolve }) {
    for (const [filter, file] of STAND_INS) {
      // A stand-in can load the package that it replaces.
      onResolve({ filter }, ({ importer }) => (importer === here(file) ? undefined : { path: here(file) }));
    }
    // Dependencies of the stand-ins are resolved from the package that they replace.
    const packages = { cliui: 'yargs', 'yargs-parser': 'yargs' };
    for (const [path, dependent] of Object.entries(packages)) {
      onResolve({ filter: new RegExp(`^${path}$`) }, ({ kind, pluginData }) =>
        pluginData
          ? undefined
          : resolve(path, { kind, resolveDir: here(`../node_modules/${dependent}`), pluginData: 'asked' }),
      );
    }
  },
};

rmSync(OUT, { recursive: true, force: true });
// Splitting creates one file for code that is always needed, and one for each set of commands that share code.
const { metafile } = await build({
  entryPoints: { main: here('../src/cli/main.ts') },
  outdir: OUT,
  bundle: true,
  splitting: true,
  format: 'esm',
  outExtension: { '.js': '.cjs' },
  chunkNames: '[name]-[hash]',
  platform: 'node',
  target: 'node20',
  minify: true,
  legalComments: 'none',
  // Only the reflection and health services of workers load it.
  external: ['@grpc/proto-loader'],
  sourcemap: 'inline',
  sourcesContent: true,
  metafile: true,
  absWorkingDir: here('..'),
  plugins: [leaveLongRunning, standIn],
  logLevel: 'warning',
});
// esbuild can only split ES modules, but Node.js loads CommonJS faster. So the split files are converted.
const files = Object.keys(metafile.outputs).map((path) => here(`../${path}`));
for (const file of files) {
  const text = readFileSync(file, 'utf8')
    .replace(/\bimport\(("\.\/[^"]+\.cjs")\)/g, 'Promise.resolve().then(()=>require($1))')
    .replace(/\bimport\("\.\.\/([^"]+)"\)/g, 'require("../../bin/import.js")("$1")');
  const dynamicImport = /\bimport\(".*?"\)/.exec(text)?.[0];
  if (dynamicImport !== undefined)
    throw new Error(`the bundle contains ${dynamicImport}, which bin/compiled.js does not support`);
  writeFileSync(file, text);
}
await build({
  entryPoints: files,
  outdir: OUT,
  allowOverwrite: true,
  outExtension: { '.js': '.cjs' },
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  minify: true,
  sourcemap: 'linked',
  define: { 'import.meta.url': '__filename' },
  logLevel: 'warning',
});

writeLicenses(metafile, here('..'), `${OUT}/LICENSES.txt`);

// Names the cache of V8's compiled code. A hash is necessary because V8 itself only compares the length of the source.
const hash = createHash('sha256');
for (const file of [...files].sort()) hash.update(readFileSync(file));
writeFileSync(`${OUT}/content-hash`, hash.digest('hex').slice(0, 32));
