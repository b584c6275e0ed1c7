/**
 * Makes the bundle of the command line in dist/bundle: what `bin/anyserve.js` loads, in few small files, because a
 * command that asks one question spends most of its time on loading code. docs/decisions/0016-the-bundle.md has why.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const OUT = here('../dist/bundle');

/** What runs for long shares its modules with a user's own that import this package, and stays as the compiler made it. */
const LONG_RUNNING = /^\.\/(?:register|serve|worker)-command\.js$/;

const leaveLongRunning: Plugin = {
  name: 'leave what runs for long',
  setup({ onResolve }) {
    onResolve({ filter: LONG_RUNNING }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path: `../cli/${path.slice('./'.length)}`, external: true } : undefined,
    );
  },
};

/** What packages load at once and the command line has no use for, and the files here that stand in. */
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
      // A stand-in may load the package that it stands for.
      onResolve({ filter }, ({ importer }) => (importer === here(file) ? undefined : { path: here(file) }));
    }
    // What they stand on is what the packages that they are for depend on.
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
// One file for what is always needed, and one for each set of commands that have something in common.
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
  // Of services that describe a server; only those load it.
  external: ['@grpc/proto-loader'],
  sourcemap: 'inline',
  sourcesContent: true,
  metafile: true,
  absWorkingDir: here('..'),
  plugins: [leaveLongRunning, standIn],
  logLevel: 'warning',
});
// Only modules of the newer kind can be split, and only those of the older kind are loaded without Node's slower loader.
const files = Object.keys(metafile.outputs).map((path) => here(`../${path}`));
for (const file of files) {
  const text = readFileSync(file, 'utf8')
    .replace(/\bimport\(("\.\/[^"]+\.cjs")\)/g, 'Promise.resolve().then(()=>require($1))')
    .replace(/\bimport\("\.\.\/cli\/([^"]+)"\)/g, 'require("../../bin/import.js")("$1")');
  const left = /\bimport\(".*?"\)/.exec(text)?.[0];
  if (left !== undefined) throw new Error(`the bundle has ${left}, which bin/compiled.js could not do`);
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

/** The folders of the packages that are in the bundle, below the root. */
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []),
);
const notices = [...packages].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(here(`../${folder}/package.json`), 'utf8'));
  const terms = readdirSync(here(`../${folder}`)).find((file) => /^licen[cs]e/i.test(file));
  const text = terms === undefined ? '' : `\n${readFileSync(here(`../${folder}/${terms}`), 'utf8').trim()}\n`;
  return `${name} ${version}, ${license}\n${text}`;
});
writeFileSync(`${OUT}/LICENSES.txt`, notices.join(`\n${'-'.repeat(78)}\n\n`));

// The name under which code that V8 made of these files is kept: V8 compares no more of a text than its length.
const hash = createHash('sha256');
for (const file of [...files].sort()) hash.update(readFileSync(file));
writeFileSync(`${OUT}/content-hash`, hash.digest('hex').slice(0, 32));
