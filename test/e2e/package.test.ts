import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { startProgram } from '../support/binary.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const EVERY_EXPORT = readFileSync(join(ROOT, 'test/package/every-export.mts'), 'utf8');
const README = readFileSync(join(ROOT, 'README.md'), 'utf8');

let project: string;

/**
 * Packs the package and installs it into an empty folder. Its dependencies are linked, and nothing else: a user has none of
 * our types of other packages.
 */
beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'package-'));
  execFileSync('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', project], { cwd: ROOT });
  const archive = readdirSync(project)[0] as string;
  const installed = join(project, 'node_modules/anyserve');
  mkdirSync(installed, { recursive: true });
  execFileSync('tar', ['-xzf', join(project, archive), '-C', installed, '--strip-components=1']);
  const { dependencies } = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8'));
  for (const name of Object.keys(dependencies)) {
    const link = join(project, 'node_modules', name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules', name), link);
  }
});

/** Compiles a program in the project, strictly and with the declarations of all packages checked. Returns the errors. */
async function compile(name: string, source: string, options: readonly string[] = []): Promise<string> {
  writeFileSync(join(project, name), source);
  const strict = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--skipLibCheck', 'false'];
  const compiler = join(ROOT, 'node_modules/.bin/tsc');
  const { code, stdout, stderr } = await startProgram([compiler, ...strict, ...options, name], { cwd: project }).ended;
  return code === 0 ? '' : stdout + stderr;
}

/** The blocks of the README in a language. */
function getBlocksOf(language: string): string[] {
  const blocks = README.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\`$`, 'gms'));
  return [...blocks].map(([, text]) => text as string);
}

it('the packed package has the dashboard, with the licenses of what it contains', () => {
  const folder = join(project, 'node_modules/anyserve/dist/dashboard');
  expect(readdirSync(folder).sort()).toEqual([
    'LICENSES.txt',
    'dashboard.css',
    'dashboard.js',
    'icon.svg',
    'index.html',
  ]);
  expect(readFileSync(join(folder, 'LICENSES.txt'), 'utf8')).toMatch(/^preact 11\./m);
});

describe('the packed package, in a TypeScript project without types of other packages', () => {
  it('compiles the TypeScript of the README', async () => {
    const blocks = getBlocksOf('ts');
    expect(blocks.length).toBeGreaterThan(0);
    for (const [at, block] of blocks.entries()) expect(await compile(`readme${at}.mts`, block)).toBe('');
  });

  it('compiles the worker module of the README, whose handlers have the types that it declares', async () => {
    const [module = ''] = getBlocksOf('js').filter((block) => block.includes("type: 'multiply'"));
    const typed = module.replace('(app) =>', '(app: App) =>');
    expect(typed).not.toBe(module);
    expect(await compile('worker.mts', `import type { App } from 'anyserve';\n${typed}`)).toBe('');
  });

  it('compiles a program that uses every export', async () => {
    const entries = ['index', 'openai'].map((name) => readFileSync(join(ROOT, `src/${name}.ts`), 'utf8')).join('\n');
    const exported = [...entries.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, names = '']) =>
      names.split(',').map((name) => name.replace(/^\s*(type )?/, '').trim()),
    );
    const imports = EVERY_EXPORT.match(/^import \{[^}]*\}/gm) ?? [];
    const used = new Set(imports.join('\n').match(/\b\w+\b/g));
    expect(exported.length).toBeGreaterThan(50);
    expect(exported.filter((name) => name !== '' && !used.has(name))).toEqual([]);
    expect(await compile('every-export.mts', EVERY_EXPORT, ['--noUnusedLocals'])).toBe('');
  });

  it('compiles it with stricter options, too', async () => {
    const stricter = ['--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--verbatimModuleSyntax'];
    expect(await compile('stricter.mts', EVERY_EXPORT, stricter)).toBe('');
  });

  it('is rejected where a handler uses what it does not declare', async () => {
    const wrong = `import { App } from 'anyserve';\nnew App().capability({ type: 'x' }, { inputs: { a: 'INT64' } }, ({ a }) => ({ b: a.data[0]! * 2 }));`;
    expect(await compile('wrong.mts', wrong)).toContain('bigint');
  });
});
