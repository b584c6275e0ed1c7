import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

/** Who may import whom, and which packages: the doors of the house. A room is a folder of src, or one of its files. */
const DOORS: Readonly<Record<string, { readonly rooms: readonly string[]; readonly packages: readonly string[] }>> = {
  core: { rooms: [], packages: [] },
  json: { rooms: ['core'], packages: [] },
  api: { rooms: ['core', 'json'], packages: [] },
  inference: { rooms: ['core', 'json'], packages: ['@bufbuild/protobuf/wire'] },
  store: { rooms: ['core', 'api', 'json'], packages: [] },
  credentials: { rooms: ['core'], packages: ['node:crypto', 'node:fs', 'node:path', 'node:tls'] },
  http: {
    rooms: ['core', 'json'],
    packages: ['node:fs/promises', 'node:http', 'node:https', 'node:net', 'node:stream', 'node:tls'],
  },
  telemetry: { rooms: ['core'], packages: [] },
  server: {
    rooms: ['core', 'json', 'api', 'credentials', 'http', 'telemetry'],
    packages: ['express', 'node:fs/promises', 'node:http', 'node:https', 'node:net', 'node:stream', 'node:tls'],
  },
  client: {
    rooms: ['core', 'json', 'api', 'inference', 'http'],
    packages: [
      '@grpc/grpc-js',
      '@grpc/grpc-js/build/src/stream-decoder.js',
      'eventsource-parser',
      'node:child_process',
      'node:events',
      'node:fs',
      'node:http',
      'node:http2',
      'node:https',
      'node:net',
      'node:os',
      'node:stream',
      'node:tls',
    ],
  },
  worker: {
    rooms: ['core', 'json', 'inference', 'credentials', 'http', 'telemetry', 'client'],
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
      'https-proxy-agent',
      'node-llama-cpp',
      'node:stream',
      'proxy-from-env',
    ],
  },
  cli: {
    rooms: [
      'core',
      'json',
      'api',
      'inference',
      'credentials',
      'client',
      'worker',
      'compose.ts',
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
      'string-width',
      'yargs',
    ],
  },
  'system.ts': { rooms: ['core'], packages: ['node:crypto', 'node:os'] },
  'version.ts': { rooms: [], packages: [] },
  'node-version.ts': { rooms: ['../bin/node-version.ts'], packages: [] },
  'backends.ts': { rooms: ['core', 'json', 'api', 'inference', 'worker', 'system.ts'], packages: [] },
  'compose.ts': {
    rooms: [
      'core',
      'json',
      'api',
      'inference',
      'credentials',
      'store',
      'telemetry',
      'server',
      'client',
      'worker',
      'system.ts',
      'version.ts',
    ],
    packages: [],
  },
  'index.ts': {
    rooms: [
      'core',
      'json',
      'api',
      'inference',
      'inference',
      'credentials',
      'client',
      'server',
      'worker',
      'backends.ts',
      'compose.ts',
      'system.ts',
      'node-version.ts',
    ],
    packages: [],
  },
};

const SRC = fileURLToPath(new URL('../src', import.meta.url));
const IMPORT =
  /(?:^|\s)(?:import|export)\s[^;'"]*?from\s*['"]([^'"]+)['"]|\bimport\s*\(\s*['"]([^'"]+)['"]\s*\)|^import\s*['"]([^'"]+)['"]|getBuiltinModule\('([^']+)'\)/gm;

interface Import {
  readonly from: string;
  readonly to: string;
}

/** The imports of a file's text, those of other files as paths below src. */
function importsOf(file: string, text: string): Import[] {
  return [...text.matchAll(IMPORT)].map((match) => {
    const target = match[1] ?? match[2] ?? match[3] ?? match[4] ?? '';
    if (!target.startsWith('.')) return { from: file, to: target };
    return { from: file, to: normalize(join(dirname(file), target)).replace(/\.js$/, '.ts') };
  });
}

/** What a file may not import. */
function violations(imports: readonly Import[]): string[] {
  return imports.filter(({ from, to }) => !isAllowed(from, to)).map(({ from, to }) => `${from} imports ${to}`);
}

function isAllowed(from: string, to: string): boolean {
  const door = DOORS[roomOf(from)];
  if (!to.endsWith('.ts')) return door?.packages.includes(to) ?? false;
  return roomOf(to) === roomOf(from) || (door?.rooms.includes(roomOf(to)) ?? false);
}

function roomOf(file: string): string {
  return file.startsWith('../') ? file : (file.split('/')[0] ?? '');
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
const imports = files.flatMap((file) => importsOf(file, readFileSync(join(SRC, file), 'utf8')));

describe('the architecture', () => {
  it('has no room without doors, and no empty sight of the imports', () => {
    expect([...new Set(files.map(roomOf))].sort()).toEqual(Object.keys(DOORS).sort());
    expect(imports.length).toBeGreaterThan(200);
  });

  it('is kept: each room imports only what its doors allow', () => {
    expect(violations(imports)).toEqual([]);
  });

  it('would show a violation', () => {
    const text = `import { x } from '../store/memory-store.js';\nimport http from 'node:http';\nconst y = import('yargs');\nimport 'chalk';`;
    expect(violations(importsOf('core/registry.ts', text))).toEqual([
      'core/registry.ts imports store/memory-store.ts',
      'core/registry.ts imports node:http',
      'core/registry.ts imports yargs',
      'core/registry.ts imports chalk',
    ]);
    expect(violations(importsOf('server/app.ts', `export {\n  a,\n} from '../store/memory-store.js';`))).toHaveLength(
      1,
    );
  });

  it('has no cycle between files', () => {
    const edges = new Map<string, string[]>();
    for (const { from, to } of imports) if (to.endsWith('.ts')) edges.set(from, [...(edges.get(from) ?? []), to]);
    const done = new Set<string>();
    const visit = (file: string, path: readonly string[]): void => {
      expect(path, `a cycle: ${[...path, file].join(' -> ')}`).not.toContain(file);
      if (done.has(file)) return;
      for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) visit(file, []);
  });

  it('has no drawer for odds and ends', () => {
    const drawers = files.filter((file) => /(^|\/)(utils?|common|helpers?|types)(\/|\.ts$)/.test(file));
    expect(drawers).toEqual([]);
  });
});
