import { basename } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type Import, listFiles, parseSourceFile, readSourceFiles, type SourceFile } from './support/source-files.js';

/** The folders of src, or files directly in it, and the packages that a folder (or such a file) is allowed to import. */
interface ImportRule {
  readonly folders: readonly string[];
  readonly packages: readonly string[];
}

const IMPORT_RULES: Readonly<Record<string, ImportRule>> = {
  core: { folders: [], packages: [] },
  json: { folders: ['core'], packages: [] },
  api: { folders: ['core', 'json'], packages: [] },
  inference: { folders: ['core', 'json'], packages: ['@bufbuild/protobuf/wire'] },
  store: {
    folders: ['core', 'api', 'json'],
    packages: ['@bufbuild/protobuf/wire', '@grpc/grpc-js', 'node:crypto'],
  },
  credentials: { folders: ['core'], packages: ['node:crypto', 'node:fs', 'node:path', 'node:tls', 'node:util'] },
  http: {
    folders: ['core', 'json'],
    packages: ['node:dns', 'node:fs/promises', 'node:http', 'node:https', 'node:net', 'node:stream', 'node:tls'],
  },
  telemetry: { folders: ['core'], packages: ['prom-client', '@opentelemetry/api'] },
  server: {
    folders: ['core', 'json', 'api', 'credentials', 'http', 'telemetry'],
    packages: [
      'express',
      'node:crypto',
      'node:fs/promises',
      'node:http',
      'node:https',
      'node:net',
      'node:stream',
      'node:tls',
    ],
  },
  // Runs in a browser, so it is a part of no other folder.
  'server/dashboard': {
    folders: ['core', 'json', 'api'],
    packages: ['eventsource-parser', 'preact', 'preact/hooks'],
  },
  client: {
    folders: ['core', 'json', 'api', 'inference', 'http'],
    packages: [
      '@grpc/grpc-js',
      '@grpc/grpc-js/build/src/stream-decoder.js',
      'eventsource-parser',
      'https-proxy-agent',
      'node:child_process',
      'node:dns/promises',
      'node:events',
      'node:fs',
      'node:http',
      'node:http2',
      'node:https',
      'node:net',
      'node:os',
      'node:stream',
      'node:tls',
      'node:zlib',
      'proxy-from-env',
    ],
  },
  worker: {
    folders: ['core', 'json', 'inference', 'credentials', 'http', 'telemetry', 'client'],
    packages: [
      '@bufbuild/protobuf/wire',
      '@grpc/grpc-js',
      '@grpc/proto-loader',
      '@grpc/reflection',
      'eventsource-parser',
      'grpc-health-check',
      'node:events',
      'node:fs',
      'node:fs/promises',
      'node:http2',
      'node:module',
      'node:net',
      'node:path',
      'node:tls',
      'node:url',
      'node:util',
      'node:zlib',
      'node-llama-cpp',
      'node:stream',
    ],
  },
  gateway: {
    folders: ['core', 'json', 'inference', 'http', 'credentials', 'telemetry', 'client'],
    packages: ['node:buffer', 'node:cluster', 'node:http', 'node:net', 'node:stream'],
  },
  cli: {
    folders: [
      'core',
      'json',
      'api',
      'inference',
      'credentials',
      'telemetry',
      'client',
      'worker',
      'gateway',
      'compose.ts',
      'compose-gateway.ts',
      'system.ts',
      'version.ts',
    ],
    packages: [
      '@grpc/grpc-js',
      'chalk',
      'cli-table3',
      'leven',
      'node:events',
      'node:fs/promises',
      'node:readline',
      'node:stream',
      'node:v8',
      'string-width',
      'yargs',
    ],
  },
  'system.ts': { folders: ['core'], packages: ['node:crypto', 'node:os'] },
  'version.ts': { folders: [], packages: [] },
  'node-version.ts': { folders: ['../bin/node-version.ts'], packages: [] },
  'backends.ts': { folders: ['core', 'json', 'api', 'inference', 'client', 'worker', 'system.ts'], packages: [] },
  'compose.ts': {
    folders: [
      'core',
      'json',
      'api',
      'inference',
      'credentials',
      'store',
      'http',
      'telemetry',
      'server',
      'client',
      'worker',
      'compose-options.ts',
      'compose-peers.ts',
      'compose-store.ts',
      'system.ts',
      'version.ts',
    ],
    packages: [],
  },
  'compose-peers.ts': { folders: ['core', 'api', 'credentials', 'http', 'server', 'system.ts'], packages: [] },
  'compose-store.ts': { folders: ['core', 'api', 'store', 'system.ts'], packages: ['node:worker_threads'] },
  'etcd-client-thread.ts': { folders: ['core', 'client', 'store', 'system.ts'], packages: ['node:worker_threads'] },
  'compose-gateway.ts': {
    folders: ['core', 'credentials', 'http', 'client', 'gateway', 'telemetry', 'system.ts', 'version.ts'],
    packages: [],
  },
  // Imports types of every folder, and only the maximum size of a message from `inference`.
  'compose-options.ts': {
    folders: ['core', 'json', 'api', 'inference', 'credentials', 'server', 'client', 'worker'],
    packages: [],
  },
  'openai.ts': {
    folders: ['core', 'credentials', 'http', 'client', 'system.ts', 'node-version.ts'],
    packages: [],
  },
  'index.ts': {
    folders: [
      'core',
      'json',
      'api',
      'inference',
      'credentials',
      'client',
      'server',
      'worker',
      'backends.ts',
      'compose.ts',
      'compose-options.ts',
      'system.ts',
      'node-version.ts',
    ],
    packages: [],
  },
};

/** The only files under {@link MIN_FILE_LINES} lines, each with the reason. */
const SMALL_FILES: Readonly<Record<string, string>> = {
  'version.ts': 'a release changes this file alone',
  'node-version.ts': 'fails before the other imports of index.ts are evaluated, which an old Node.js cannot parse',
  'cli/grpc-log.ts': 'loaded with the gRPC library, which help and completion must not load',
  'telemetry/event-bus.ts': 'every subscriber imports it, whatever it does with the events',
  'server/api-server-handle.ts': 'a public type, which must compile without the types of Node.js',
};

const MAX_FUNCTION_LINES = 50;
const MIN_FILE_LINES = 20;

/** Names that each folder can use for a file that explains or gathers it. */
const SHARED_FILE_NAMES = /^(README\.md|index\.ts)$/;

function findForbiddenImports(imports: readonly Import[]): string[] {
  return imports.filter(({ from, to }) => !isAllowed(from, to)).map(({ from, to }) => `${from} imports ${to}`);
}

function isAllowed(from: string, to: string): boolean {
  const rule = IMPORT_RULES[getFolder(from)];
  if (!/\.tsx?$/.test(to)) return rule?.packages.includes(to) ?? false;
  return getFolder(to) === getFolder(from) || (rule?.folders.includes(getFolder(to)) ?? false);
}

function getFolder(file: string): string {
  if (file.startsWith('../')) return file;
  return file.startsWith('server/dashboard/') ? 'server/dashboard' : (file.split('/')[0] ?? '');
}

/** Finds cycles of imports; each is described by its path. */
function findCycles(imports: readonly Import[]): string[] {
  const targets = new Map<string, string[]>();
  for (const { from, to } of imports) if (/\.tsx?$/.test(to)) targets.set(from, [...(targets.get(from) ?? []), to]);
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) cycles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
    if (done.has(file) || path.includes(file)) return;
    for (const target of targets.get(file) ?? []) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of targets.keys()) visit(file, []);
  return cycles;
}

/** Lists keys that several values have, each with those values: `Replica: core/a.ts, core/b.ts`. */
function findDuplicates(pairs: readonly (readonly [key: string, value: string])[]): string[] {
  const values = new Map<string, string[]>();
  for (const [key, value] of pairs) values.set(key, [...(values.get(key) ?? []), value]);
  return [...values].filter(([, all]) => all.length > 1).map(([key, all]) => `${key}: ${all.join(', ')}`);
}

function findDuplicateExports(files: readonly SourceFile[]): string[] {
  return findDuplicates(files.flatMap(({ path, exports }) => exports.map((name) => [name, path] as const)));
}

function findDuplicateFiles(paths: readonly string[]): string[] {
  const pairs = paths.map((path) => [basename(path), path] as const);
  return findDuplicates(pairs.filter(([name]) => !SHARED_FILE_NAMES.test(name)));
}

/** Finds files that are too small, and exceptions that are no longer needed. */
function findSmallFiles(files: readonly SourceFile[], exceptions: readonly string[]): string[] {
  const small = files.filter(({ lines }) => lines < MIN_FILE_LINES);
  const unexpected = small.filter(({ path }) => !exceptions.includes(path));
  const unneeded = exceptions.filter((exception) => !small.some(({ path }) => path === exception));
  return [
    ...unexpected.map(({ path, lines }) => `${path} has ${lines} lines: merge it with a related file`),
    ...unneeded.map((path) => `${path} is not a small file: remove the exception`),
  ];
}

function findLongFunctions(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, functions }) =>
    functions
      .filter(({ lines }) => lines > MAX_FUNCTION_LINES)
      .map(({ name, lines }) => `${path}: ${name} has ${lines} lines`),
  );
}

const files = readSourceFiles();
const imports = files.flatMap((file) => file.imports);

describe('import rules', () => {
  it('exist for each folder, and all imports are seen', () => {
    expect([...new Set(files.map(({ path }) => getFolder(path)))].sort()).toEqual(Object.keys(IMPORT_RULES).sort());
    expect(imports.length).toBeGreaterThan(200);
  });

  it('hold for each import', () => {
    expect(findForbiddenImports(imports)).toEqual([]);
  });

  it('find forbidden imports of every form', () => {
    const text = `import { x } from '../store/memory-store.js';\nimport http from 'node:http';\nconst y = import('yargs');\nimport 'chalk';\nprocess.getBuiltinModule('node:tls');\nlet z: import('express').Express;`;
    expect(findForbiddenImports(parseSourceFile('core/registry.ts', text).imports)).toEqual([
      'core/registry.ts imports store/memory-store.ts',
      'core/registry.ts imports node:http',
      'core/registry.ts imports yargs',
      'core/registry.ts imports chalk',
      'core/registry.ts imports node:tls',
      'core/registry.ts imports express',
    ]);
    const reexport = parseSourceFile('server/api-app.ts', `export {\n  a,\n} from '../store/memory-store.js';`);
    expect(findForbiddenImports(reexport.imports)).toEqual(['server/api-app.ts imports store/memory-store.ts']);
  });

  it('allow no cycle between files', () => {
    expect(findCycles(imports)).toEqual([]);
    const cycle = ['a.ts', 'b.ts', 'c.ts', 'b.ts'].map((to, index, path) => ({
      from: path[index - 1] ?? 'main.ts',
      to,
    }));
    expect(findCycles(cycle)).toEqual(['b.ts -> c.ts -> b.ts']);
  });
});

describe('names', () => {
  it('say what is in a file', () => {
    const vague = files.filter(({ path }) => /(^|\/)(utils?|common|helpers?|types)(\/|\.ts$)/.test(path));
    expect(vague.map(({ path }) => path)).toEqual([]);
  });

  it('are unique among files', () => {
    expect(findDuplicateFiles(listFiles())).toEqual([]);
    expect(findDuplicateFiles(['a/README.md', 'b/README.md', 'a/x.ts', 'b/y.ts', 'b/x.ts'])).toEqual([
      'x.ts: a/x.ts, b/x.ts',
    ]);
  });

  it('are unique among exports', () => {
    expect(findDuplicateExports(files)).toEqual([]);
    const first =
      'export class A {}\nexport type B = 1;\nexport const c = 1, d = 2;\nexport function e() {}\nexport interface F {}';
    const second = `const d = 1;\nexport { d };\nexport { e } from './first.js';\nexport interface A {}\nfunction c() {}`;
    const both = [parseSourceFile('a/first.ts', first), parseSourceFile('b/second.ts', second)];
    expect(both[0]?.exports).toEqual(['A', 'B', 'c', 'd', 'e', 'F']);
    expect(findDuplicateExports(both)).toEqual(['A: a/first.ts, b/second.ts', 'd: a/first.ts, b/second.ts']);
  });
});

describe('sizes', () => {
  it('are at least 20 lines for files, with few exceptions', () => {
    expect(findSmallFiles(files, Object.keys(SMALL_FILES))).toEqual([]);
    const small = parseSourceFile('a/small.ts', 'export const a = 1;');
    const large = parseSourceFile('a/large.ts', ';\n'.repeat(MIN_FILE_LINES));
    expect(findSmallFiles([small, large], [])).toEqual(['a/small.ts has 1 lines: merge it with a related file']);
    expect(findSmallFiles([small, large], ['a/small.ts'])).toEqual([]);
    expect(findSmallFiles([large], ['a/large.ts', 'a/gone.ts'])).toEqual([
      'a/large.ts is not a small file: remove the exception',
      'a/gone.ts is not a small file: remove the exception',
    ]);
  });

  it('are at most 50 lines for functions', () => {
    expect(findLongFunctions(files)).toEqual([]);
    const body = '\n'.repeat(50);
    const text = `function f() {${body}}\nclass A { #m() {${body}}\n n() {${body.slice(1)}} }\nconst g = () => {${body}};`;
    expect(findLongFunctions([parseSourceFile('a/long.ts', text)])).toEqual([
      'a/long.ts: f has 51 lines',
      'a/long.ts: #m has 51 lines',
      'a/long.ts: g has 51 lines',
    ]);
  });
});
