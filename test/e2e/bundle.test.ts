import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMMANDS } from '../../src/cli/commands.js';
import { runCommandLine } from '../../src/cli/main.js';
import { type Outcome, type Running, run, start, startProgram, stopAll } from '../support/binary.js';
import { until } from '../support/until.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const BUNDLE = join(ROOT, 'dist/bundle');
const LOADED = join(ROOT, 'test/support/report-loaded-modules.cjs');

/** A code cache that no other test writes: a process that finds another one writing it leaves it as it is. */
const CACHE = mkdtempSync(join(tmpdir(), 'cache-'));

interface Loaded {
  readonly segmenters: number;
  readonly ofNode: readonly string[];
  readonly files: readonly string[];
  readonly bundled: readonly string[];
  readonly kept: number;
}

let server: string;

beforeAll(async () => {
  server = await start(['serve', '--port', '0']).waitForOutput(/listening on (http:\S+)/);
  const worker = start(['worker', '--backend', 'echo', '--cap', 'type=chat', '--port', '0', '--server', server]);
  await worker.waitForOutput(/^registered/m);
});

afterAll(stopAll);

/** Starts the built binary so that it prints what it loaded when it ends. */
function startReporting(...args: string[]): Running {
  const env = { ANYSERVE_SERVER: server, XDG_CACHE_HOME: CACHE };
  const started = startProgram([process.execPath, '--require', LOADED, join(ROOT, 'bin/anyserve.js'), ...args], {
    env,
  });
  started.child.stdin?.end();
  return started;
}

/** Waits until the process has ended, and returns what it loaded. */
async function readLoaded({ ended }: Running): Promise<Loaded> {
  const { code, stderr } = await ended;
  expect(code, stderr).toBe(0);
  return JSON.parse(stderr.split('\n').at(-1) ?? '');
}

/** Runs the built binary until it ends, and returns what it loaded. */
function listLoaded(...args: string[]): Promise<Loaded> {
  return readLoaded(startReporting(...args));
}

/** Returns the source files of some files of the bundle. */
function listSources(files: readonly string[]): string[] {
  return files.flatMap((file) => JSON.parse(readFileSync(join(BUNDLE, `${file}.map`), 'utf8')).sources);
}

/** Returns the packages that the source files of some files of the bundle belong to. */
function listPackages(files: readonly string[]): string[] {
  const names = listSources(files).map((source) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))];
}

const COMMANDS_THAT_ASK = [
  ['--help'],
  ['route', 'type=chat'],
  ['registry'],
  ['events'],
  ['infer', 'chat', '--prompt', 'x'],
] as const;

describe('the bundle of the command line', () => {
  it.each(COMMANDS_THAT_ASK.map((args) => [args] as const))(
    'is all that %j loads, and needs neither a segmenter nor fetch',
    async (args) => {
      const { segmenters, ofNode, files, bundled } = await listLoaded(...args);
      expect(segmenters).toBe(0);
      expect(ofNode.filter((name) => /undici|webstreams/.test(name))).toEqual([]);
      expect(files.map((file) => file.replace(ROOT, ''))).toEqual([
        'test/support/report-loaded-modules.cjs',
        'bin/anyserve.js',
        'bin/node-version.js',
        'bin/compiled.js',
        'bin/code-cache.js',
      ]);
      expect(listPackages(bundled)).toEqual(expect.arrayContaining(['yargs']));
      expect(listSources(bundled).filter((source) => /grpc-js\/src\/(?:server|orca)\.ts$/.test(source))).toEqual([]);
      expect(listPackages(bundled).filter((name) => /express|proto-loader|protobufjs|reflection/.test(name))).toEqual(
        [],
      );
    },
  );

  it.each([['--help'], ['route', 'type=chat'], ['registry'], ['events']])(
    'loads neither gRPC nor TLS for %s',
    async (...args) => {
      const { ofNode, bundled } = await listLoaded(...args);
      expect(listPackages(bundled).filter((name) => /grpc|protobuf/.test(name))).toEqual([]);
      expect(ofNode.filter((name) => /^NativeModule (http2|https|tls|crypto|_tls_wrap)$/.test(name))).toEqual([]);
    },
  );

  it('uses the cached code of an earlier run for each file that a command loads', async () => {
    for (const args of COMMANDS_THAT_ASK) {
      await listLoaded(...args);
      const { bundled, kept } = await listLoaded(...args);
      expect(kept).toBe(bundled.length);
    }
  });

  it('contains no path of the machine that built it', () => {
    const files = readdirSync(BUNDLE, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    const named = files.filter(({ parentPath, name }) => readFileSync(join(parentPath, name)).includes(ROOT));
    expect(files.length).toBeGreaterThan(10);
    expect(named.map(({ name }) => name)).toEqual([]);
  });

  it('prints the same help and usage errors as its sources', async () => {
    const helps = COMMANDS.map(({ name }) => [name, '--help']);
    const wrong = [
      ['rout'],
      ['route', '--srever', 'x'],
      ['infer', '--prompt'],
      ['route', 'x'],
      ['serve', 'x'],
      ['infer'],
    ];
    for (const args of [[], ['--help'], ['--version'], ['completion'], ...helps, ...wrong]) {
      expect(await run(args), args.join(' ')).toEqual(await runUnbundled(args));
    }
  });

  it('shows its source files in stack traces with --debug', async () => {
    for (const args of [
      ['route', 'x'],
      ['serve', '--port', 'x'],
    ]) {
      const { stderr } = await run([...args, '--debug']);
      expect(stderr).toMatch(/src\/cli\/argument-parsers\.ts:\d+/);
      expect(stderr).toMatch(/src\/cli\/main\.ts:\d+/);
    }
  });
});

/** Runs a command line in this process, without the bundle. */
async function runUnbundled(args: readonly string[]): Promise<Outcome> {
  const printed = { stdout: '', stderr: '' };
  const createWriter = (stream: 'stdout' | 'stderr') =>
    new Writable({
      write(chunk, _encoding, done) {
        printed[stream] += chunk;
        done();
      },
    });
  const never = new AbortController().signal;
  const signals = { interrupted: never, forceQuit: never, stdoutClosed: never };
  const io = {
    stdin: process.stdin,
    stdout: createWriter('stdout'),
    stderr: createWriter('stderr'),
    env: { SHELL: process.env['SHELL'] },
  };
  const code = await runCommandLine(args, { ...io, ...signals });
  return { code, ...printed };
}

it('an API server with a store in etcd runs HTTP/2 in another thread, because it makes HTTP/1 slower', async () => {
  const started = startReporting('serve', '--port', '0', '--drain', '0', '--store', 'etcd://127.0.0.1:1');
  const url = await started.waitForOutput(/listening on (http:\S+)/);
  await until('it has tried to reach etcd', async () => {
    const response = await fetch(`${url}/readyz`);
    return (await response.text()).includes('ECONNREFUSED');
  });
  started.child.kill('SIGTERM');
  const { ofNode, files } = await readLoaded(started);
  expect(ofNode).toContain('NativeModule worker_threads');
  expect(files.filter((file) => file.includes('grpc-js'))).toEqual([]);
});
