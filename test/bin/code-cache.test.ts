import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Script } from 'node:vm';
import { beforeEach, describe, expect, it } from 'vitest';
import { CodeCache } from '../../bin/code-cache.js';

let home: string;

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'anyserve-home-'));
});

const SOURCES = { 'a.cjs': '(() => (x) => x + 1)', 'b.cjs': '(() => (x) => x + 2)' } as const;

/** Runs a command with a cache as `bin/compiled.js` does. Returns the number of scripts that V8 accepted from it. */
function run(env: NodeJS.ProcessEnv = {}, names: readonly (keyof typeof SOURCES)[] = ['a.cjs', 'b.cjs']): number {
  const cache = new CodeCache({ XDG_CACHE_HOME: home, ...env }, 'hash', 'route');
  const scripts = new Map(
    names.map((name) => [name, new Script(SOURCES[name], { filename: name, cachedData: cache.getCode(name) })]),
  );
  for (const script of scripts.values()) script.runInThisContext()()(1);
  cache.save(scripts);
  return [...scripts.values()].filter(({ cachedDataRejected }) => cachedDataRejected === false).length;
}

const findCacheFolder = (): string => join(home, 'anyserve');
const listFiles = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));

/** Runs a command once, which fills the cache, and returns the cache file. */
function fillCache(): string {
  run();
  const files = listFiles(findCacheFolder());
  expect(files).toHaveLength(1);
  return files[0] as string;
}

describe('the code cache of a command', () => {
  it('is written by the first run, readable only for the user, and used by the next', () => {
    expect(run()).toBe(0);
    for (const path of [
      findCacheFolder(),
      ...readdirSync(findCacheFolder()).map((name) => join(findCacheFolder(), name)),
    ]) {
      expect(statSync(path).mode & 0o7777).toBe(0o700);
    }
    const [file = ''] = listFiles(findCacheFolder());
    expect(statSync(file).mode & 0o7777).toBe(0o600);
    expect(file).toContain(`/${process.version}-`);
    expect(run()).toBe(2);
    expect(listFiles(findCacheFolder())).toEqual([file]);
  });

  it('grows with the files that other runs of the same command load', () => {
    run({}, ['a.cjs']);
    expect(run({}, ['b.cjs'])).toBe(0);
    expect(run()).toBe(2);
  });

  it('is in ~/.cache without XDG_CACHE_HOME, and disabled by its setting or without a home folder', () => {
    run({ XDG_CACHE_HOME: '', HOME: home, ANYSERVE_CODE_CACHE: '0' });
    run({ XDG_CACHE_HOME: 'relative', HOME: '' });
    run({ XDG_CACHE_HOME: undefined });
    expect(readdirSync(home)).toEqual([]);
    run({ XDG_CACHE_HOME: '', HOME: home });
    expect(readdirSync(join(home, '.cache'))).toEqual(['anyserve']);
  });

  it('is not used, and is replaced, when it is truncated or corrupt', () => {
    const file = fillCache();
    const content = readFileSync(file);
    for (const broken of [content.subarray(0, 9), content.subarray(0, -9), Buffer.from('[["a.cjs",9]]\nabc'), '']) {
      writeFileSync(file, broken);
      expect(run()).toBe(0);
      expect(run()).toBe(2);
    }
  });

  it('is replaced at most once an hour when V8 rejects it', () => {
    const file = fillCache();
    const refused = '[["a.cjs",3],["b.cjs",3]]\nabcdef';
    writeFileSync(file, refused);
    run();
    expect(readFileSync(file, 'utf8')).toBe(refused);
    const anHourAgo = Date.now() / 1000 - 3601;
    utimesSync(file, anHourAgo, anHourAgo);
    run();
    expect(run()).toBe(2);
  });

  it('is not used when other users can write to the file or to a folder of its path', () => {
    const file = fillCache();
    for (const path of [file, dirname(file), findCacheFolder(), home]) {
      for (const open of [0o020, 0o002]) {
        const { mode } = statSync(path);
        chmodSync(path, mode | open);
        expect(run(), path).toBe(0);
        chmodSync(path, mode);
        expect(run(), path).toBe(2);
      }
    }
  });

  it('is not used through a symbolic link, nor when the file has a second hard link', () => {
    const file = fillCache();
    const elsewhere = mkdtempSync(join(tmpdir(), 'anyserve-'));
    linkSync(file, join(elsewhere, 'second'));
    expect(run()).toBe(0);
    expect(run()).toBe(2);
    for (const path of [dirname(file), findCacheFolder()]) {
      renameSync(path, join(elsewhere, 'moved'));
      symlinkSync(join(elsewhere, 'moved'), path);
      expect(run()).toBe(0);
      rmSync(path);
      renameSync(join(elsewhere, 'moved'), path);
    }
    const target = join(elsewhere, 'file');
    renameSync(file, target);
    symlinkSync(target, file);
    const before = readFileSync(target);
    expect(run()).toBe(0);
    expect(readFileSync(target)).toEqual(before);
    expect(run()).toBe(2);
  });

  it.runIf(process.getuid?.() === 0)('is not used when it belongs to another user', () => {
    const file = fillCache();
    for (const path of [file, dirname(file), findCacheFolder(), home]) {
      chownSync(path, 4321, 0);
      expect(run(), path).toBe(0);
      if (path !== file) chownSync(path, 0, 0);
      expect(run(), path).toBe(2);
    }
  });

  it('is optional: commands work without a folder, with a file in its place, and where nothing can be written', () => {
    home = join(home, 'new');
    expect(run()).toBe(0);
    expect(run()).toBe(2);
    rmSync(findCacheFolder(), { recursive: true });
    writeFileSync(findCacheFolder(), 'a file');
    expect(run()).toBe(0);
    for (home of ['/proc/1/anyserve', '/dev/full', '/no/such/folder']) expect(run()).toBe(0);
  });

  it('is not written while another process writes it, unless that process was killed long ago', () => {
    const file = fillCache();
    rmSync(file);
    writeFileSync(`${file}.new`, '');
    run();
    expect(existsSync(file)).toBe(false);
    const longAgo = Date.now() / 1000 - 61;
    utimesSync(`${file}.new`, longAgo, longAgo);
    run();
    expect(listFiles(findCacheFolder())).toEqual([file]);
  });

  it('is removed when newer versions exist, and nothing else is', () => {
    const others = ['models', 'v1', 'v1.0.0'];
    for (const folder of ['', ...others]) mkdirSync(join(findCacheFolder(), folder), { mode: 0o700 });
    for (let old = 0; old < 6; old++) mkdirSync(join(findCacheFolder(), `v1.0.${old}-linux-x64-0f3c`), { mode: 0o700 });
    const file = fillCache();
    const left = readdirSync(findCacheFolder());
    expect(left.filter((name) => others.includes(name))).toEqual(others);
    expect(left).toHaveLength(others.length + 4);
    expect(existsSync(file)).toBe(true);
  });
});
