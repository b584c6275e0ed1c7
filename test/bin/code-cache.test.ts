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

/** Runs a command with a cache as `bin/compiled.js` does; returns the number of scripts that V8 took from it. */
function run(env: NodeJS.ProcessEnv = {}, names: readonly (keyof typeof SOURCES)[] = ['a.cjs', 'b.cjs']): number {
  const cache = new CodeCache({ XDG_CACHE_HOME: home, ...env }, 'hash', 'route');
  const scripts = new Map(
    names.map((name) => [name, new Script(SOURCES[name], { filename: name, cachedData: cache.getCode(name) })]),
  );
  for (const script of scripts.values()) script.runInThisContext()()(1);
  cache.save(scripts);
  return [...scripts.values()].filter(({ cachedDataRejected }) => cachedDataRejected === false).length;
}

const cacheFolder = (): string => join(home, 'anyserve');
const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name));

/** Runs a command once, which fills the cache, and returns the file that it made. */
function filledCache(): string {
  run();
  const files = filesIn(cacheFolder());
  expect(files).toHaveLength(1);
  return files[0] as string;
}

describe('the code that V8 made of a command', () => {
  it('is kept at the first run, for the user alone, and used by the next', () => {
    expect(run()).toBe(0);
    for (const path of [cacheFolder(), ...readdirSync(cacheFolder()).map((name) => join(cacheFolder(), name))]) {
      expect(statSync(path).mode & 0o7777).toBe(0o700);
    }
    const [file = ''] = filesIn(cacheFolder());
    expect(statSync(file).mode & 0o7777).toBe(0o600);
    expect(file).toContain(`/${process.version}-`);
    expect(run()).toBe(2);
    expect(filesIn(cacheFolder())).toEqual([file]);
  });

  it('grows with the files that other runs of the same command load', () => {
    run({}, ['a.cjs']);
    expect(run({}, ['b.cjs'])).toBe(0);
    expect(run()).toBe(2);
  });

  it('is in ~/.cache without XDG_CACHE_HOME, and nowhere when it is off or there is no home', () => {
    run({ XDG_CACHE_HOME: '', HOME: home, ANYSERVE_CODE_CACHE: '0' });
    run({ XDG_CACHE_HOME: 'relative', HOME: '' });
    run({ XDG_CACHE_HOME: undefined });
    expect(readdirSync(home)).toEqual([]);
    run({ XDG_CACHE_HOME: '', HOME: home });
    expect(readdirSync(join(home, '.cache'))).toEqual(['anyserve']);
  });

  it('is not used, and is replaced, when it is cut off or has something else in it', () => {
    const file = filledCache();
    const content = readFileSync(file);
    for (const broken of [content.subarray(0, 9), content.subarray(0, -9), Buffer.from('[["a.cjs",9]]\nabc'), '']) {
      writeFileSync(file, broken);
      expect(run()).toBe(0);
      expect(run()).toBe(2);
    }
  });

  it('that V8 refuses is replaced once an hour at most', () => {
    const file = filledCache();
    const refused = '[["a.cjs",3],["b.cjs",3]]\nabcdef';
    writeFileSync(file, refused);
    run();
    expect(readFileSync(file, 'utf8')).toBe(refused);
    const anHourAgo = Date.now() / 1000 - 3601;
    utimesSync(file, anHourAgo, anHourAgo);
    run();
    expect(run()).toBe(2);
  });

  it('is not used when others can write to the file or to a folder of it', () => {
    const file = filledCache();
    for (const path of [file, dirname(file), cacheFolder(), home]) {
      for (const open of [0o020, 0o002]) {
        const { mode } = statSync(path);
        chmodSync(path, mode | open);
        expect(run(), path).toBe(0);
        chmodSync(path, mode);
        expect(run(), path).toBe(2);
      }
    }
  });

  it('is not used through a link, nor when the file has a second name', () => {
    const file = filledCache();
    const elsewhere = mkdtempSync(join(tmpdir(), 'anyserve-'));
    linkSync(file, join(elsewhere, 'second'));
    expect(run()).toBe(0);
    expect(run()).toBe(2);
    for (const path of [dirname(file), cacheFolder()]) {
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
    const file = filledCache();
    for (const path of [file, dirname(file), cacheFolder(), home]) {
      chownSync(path, 4321, 0);
      expect(run(), path).toBe(0);
      if (path !== file) chownSync(path, 0, 0);
      expect(run(), path).toBe(2);
    }
  });

  it('is no condition of a command: without a folder, with a file in its place, or where nothing can be written', () => {
    home = join(home, 'new');
    expect(run()).toBe(0);
    expect(run()).toBe(2);
    rmSync(cacheFolder(), { recursive: true });
    writeFileSync(cacheFolder(), 'a file');
    expect(run()).toBe(0);
    for (home of ['/proc/1/anyserve', '/dev/full', '/no/such/folder']) expect(run()).toBe(0);
  });

  it('is not written while another process writes it, unless that was killed long ago', () => {
    const file = filledCache();
    rmSync(file);
    writeFileSync(`${file}.new`, '');
    run();
    expect(existsSync(file)).toBe(false);
    const longAgo = Date.now() / 1000 - 61;
    utimesSync(`${file}.new`, longAgo, longAgo);
    run();
    expect(filesIn(cacheFolder())).toEqual([file]);
  });

  it('goes away when newer versions are there', () => {
    mkdirSync(cacheFolder(), { mode: 0o700 });
    for (let old = 0; old < 6; old++) mkdirSync(join(cacheFolder(), `v1.0.${old}`), { mode: 0o700 });
    const file = filledCache();
    expect(readdirSync(cacheFolder())).toHaveLength(4);
    expect(existsSync(file)).toBe(true);
  });
});
