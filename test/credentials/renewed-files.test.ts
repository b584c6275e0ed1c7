import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { AnyserveError } from '../../src/core/errors.js';
import { renewedFiles } from '../../src/credentials/renewed-files.js';
import { ManualClock } from '../support/manual-clock.js';
import { keptLog } from '../support/replicas.js';

let folder: string;
let path: string;
let clock: ManualClock;
let log: ReturnType<typeof keptLog>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
  path = join(folder, 'file');
  clock = new ManualClock();
  log = keptLog();
  writeFileSync(path, 'one');
});

const open = (): (() => string) =>
  renewedFiles(
    [{ option: 'x', path }],
    ([text = '']) => {
      if (text === '') throw new AnyserveError('usage', 'it is empty');
      return text;
    },
    { clock, log },
  );

describe('files that are renewed', () => {
  it('are read again when they have changed, and looked at once a second at most', () => {
    const current = open();
    writeFileSync(path, 'other');
    clock.advance(999);
    expect(current()).toBe('one');
    clock.advance(1);
    expect(current()).toBe('other');
    expect(log.lines).toEqual([`read again: ${path}`]);
  });

  it('keep what was there while the new ones cannot be used, and say so once', () => {
    const current = open();
    for (const broken of [() => writeFileSync(path, ''), () => rmSync(path)]) {
      broken();
      log.lines.length = 0;
      for (let look = 0; look < 3; look++) {
        clock.advance(1000);
        expect(current()).toBe('one');
      }
      expect(log.lines).toEqual([expect.stringMatching(/; going on with what was there before$/)]);
    }
    writeFileSync(path, 'two');
    clock.advance(1000);
    expect(current()).toBe('two');
  });

  it('are tried again when only something else was in the way, and that is said once', () => {
    let isInTheWay = false;
    const current = renewedFiles(
      [{ option: 'x', path }],
      ([text = '']) => {
        if (isInTheWay) throw new AnyserveError('usage', 'too many open files');
        return text;
      },
      { clock, log },
    );
    isInTheWay = true;
    writeFileSync(path, 'another');
    for (let look = 0; look < 3; look++) {
      clock.advance(1000);
      expect(current()).toBe('one');
    }
    isInTheWay = false;
    clock.advance(1000);
    expect(current()).toBe('another');
    expect(log.lines).toEqual(['too many open files; going on with what was there before', `read again: ${path}`]);
  });

  it('keep what was there while their folder is none', () => {
    const current = open();
    renameSync(folder, `${folder}-away`);
    writeFileSync(folder, 'no folder');
    clock.advance(1000);
    expect(current()).toBe('one');
    expect(log.lines).toEqual([expect.stringMatching(/ENOTDIR.*; going on with what was there before$/)]);
    rmSync(folder);
    renameSync(`${folder}-away`, folder);
    clock.advance(1000);
    expect(current()).toBe('one');
  });

  it('may be other files under the same name', () => {
    writeFileSync(join(folder, 'new'), 'two');
    const current = open();
    renameSync(join(folder, 'new'), path);
    clock.advance(1000);
    expect(current()).toBe('two');
    writeFileSync(join(folder, 'newer'), 'six');
    rmSync(path);
    symlinkSync(join(folder, 'newer'), path);
    clock.advance(1000);
    expect(current()).toBe('six');
  });

  it('must be there at the beginning', () => {
    rmSync(path);
    expect(open).toThrow(/^--x: cannot read .*ENOENT/);
    writeFileSync(path, '');
    expect(open).toThrow('it is empty');
  });
});
