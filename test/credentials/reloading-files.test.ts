import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { AnyserveError } from '../../src/core/errors.js';
import { createReloadingGetter } from '../../src/credentials/reloading-files.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingLog } from '../support/replicas.js';

let folder: string;
let path: string;
let clock: ManualClock;
let log: ReturnType<typeof createRecordingLog>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'anyserve-'));
  path = join(folder, 'file');
  clock = new ManualClock();
  log = createRecordingLog();
  writeFileSync(path, 'one\n');
});

const parse = ([text = '']: readonly string[]): string => {
  if (text.trim() === '') throw new AnyserveError('usage', 'it is empty');
  return text.trim();
};

const open = (): (() => string) => createReloadingGetter([{ option: 'x', path }], { parse }, { clock, log });

describe('reloading files', () => {
  it('are reloaded after a change, and checked at most once a second', () => {
    const current = open();
    writeFileSync(path, 'other\n');
    clock.advance(999);
    expect(current()).toBe('one');
    clock.advance(1);
    expect(current()).toBe('other');
    expect(log.lines).toEqual([`reloaded: ${path}`]);
  });

  it('are reloaded when inode, size and modification time are unchanged', () => {
    const current = open();
    const { ino, atime, mtime } = statSync(path);
    writeFileSync(path, 'two\n');
    utimesSync(path, atime, mtime);
    expect(statSync(path)).toMatchObject({ ino, mtime });
    clock.advance(1000);
    expect(current()).toBe('two');
  });

  it('are not logged as reloaded if they were only touched', () => {
    const current = open();
    for (let touch = 1; touch < 4; touch++) {
      utimesSync(path, touch, touch);
      clock.advance(1000);
      expect(current()).toBe('one');
    }
    expect(log.lines).toEqual([]);
  });

  it('without a final newline are used at the first load, and at a reload after 2 s without a change', () => {
    writeFileSync(path, 'first');
    const current = open();
    expect(current()).toBe('first');
    writeFileSync(path, 'roo');
    clock.advance(1000);
    expect(current()).toBe('first');
    appendFileSync(path, 'tTO');
    clock.advance(1000);
    expect(current()).toBe('first');
    clock.advance(1999);
    expect(current()).toBe('first');
    clock.advance(1000);
    expect(current()).toBe('rootTO');
    expect(log.lines).toEqual([`reloaded: ${path}`]);
  });

  it('without a final newline are used at the first check if their change time is 2 s ago', () => {
    const current = open();
    writeFileSync(path, 'two');
    const epochMs = (): number => statSync(path).ctimeMs + 2000;
    const later: ManualClock = Object.assign(clock, { epochMs });
    later.advance(1000);
    expect(current()).toBe('two');
  });

  it('keep the previous value while they are invalid, and log that once', () => {
    const current = open();
    for (const broken of [() => writeFileSync(path, '\n'), () => rmSync(path), () => mkdirSync(path)]) {
      broken();
      log.lines.length = 0;
      for (let round = 0; round < 3; round++) {
        clock.advance(1000);
        expect(current()).toBe('one');
      }
      expect(log.lines).toEqual([expect.stringMatching(/; the previous content stays in use$/)]);
    }
    rmSync(path, { recursive: true });
    writeFileSync(path, 'two\n');
    clock.advance(1000);
    expect(current()).toBe('two');
  });

  it('log no problem if they are empty while they are rewritten', () => {
    const current = open();
    writeFileSync(path, '');
    clock.advance(1000);
    expect(current()).toBe('one');
    writeFileSync(path, 'two\n');
    clock.advance(1000);
    expect(current()).toBe('two');
    expect(log.lines).toEqual([`reloaded: ${path}`]);
  });

  it('are tried again after a failure outside of the files, which is logged once', () => {
    let isInTheWay = false;
    const format = {
      parse: ([text = '']: readonly string[]): string => {
        if (isInTheWay) throw new AnyserveError('usage', 'too many open files');
        return text;
      },
    };
    const current = createReloadingGetter([{ option: 'x', path }], format, { clock, log });
    isInTheWay = true;
    writeFileSync(path, 'another\n');
    for (let round = 0; round < 3; round++) {
      clock.advance(1000);
      expect(current()).toBe('one\n');
    }
    isInTheWay = false;
    clock.advance(1000);
    expect(current()).toBe('another\n');
    expect(log.lines).toEqual(['too many open files; the previous content stays in use', `reloaded: ${path}`]);
  });

  it('keep the previous value while their directory is missing', () => {
    const current = open();
    renameSync(folder, `${folder}-away`);
    writeFileSync(folder, 'no folder');
    clock.advance(1000);
    expect(current()).toBe('one');
    expect(log.lines).toEqual([
      expect.stringMatching(/^--x: cannot read .*: not a directory; the previous content stays in use$/),
    ]);
    rmSync(folder);
    renameSync(`${folder}-away`, folder);
    clock.advance(1000);
    expect(current()).toBe('one');
  });

  it('can be replaced by other files of the same name', () => {
    writeFileSync(join(folder, 'new'), 'two\n');
    const current = open();
    renameSync(join(folder, 'new'), path);
    clock.advance(1000);
    expect(current()).toBe('two');
    writeFileSync(join(folder, 'newer'), 'six\n');
    rmSync(path);
    symlinkSync(join(folder, 'newer'), path);
    clock.advance(1000);
    expect(current()).toBe('six');
  });

  it('can be a Kubernetes secret without a final newline: a link through a directory link that is swapped', () => {
    const writeVersion = (name: string, text: string): void => {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'token'), text);
      symlinkSync(name, join(folder, '..data_tmp'));
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    };
    writeVersion('..v1', 'first');
    path = join(folder, 'token');
    symlinkSync('..data/token', path);
    const current = open();
    expect(current()).toBe('first');
    writeVersion('..v2', 'other');
    clock.advance(1000);
    expect(current()).toBe('first');
    clock.advance(2000);
    expect(current()).toBe('other');
  });

  it('must exist and have a limited size at the first load', () => {
    rmSync(path);
    expect(open).toThrow(/^--x: cannot read .*: no such file or directory$/);
    writeFileSync(path, '');
    expect(open).toThrow('it is empty');
    path = '/dev/zero';
    expect(open).toThrow('--x: cannot read /dev/zero: it is larger than 4194304 bytes');
  });
});
