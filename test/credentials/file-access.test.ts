import { chmodSync, chownSync, mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { findAccessProblems } from '../../src/credentials/file-access.js';
import { createReloadingGetter } from '../../src/credentials/reloading-files.js';
import { ManualClock } from '../support/manual-clock.js';
import { createRecordingLog } from '../support/replicas.js';

const OTHER_GROUP = 12345;
const isRoot = process.getuid?.() === 0;

let root: string;
let folder: string;
let path: string;

beforeEach(() => {
  // Below /tmp, which every user can search. The directory of a test run is private.
  root = mkdtempSync(join(process.env['TMPDIR'] === undefined ? tmpdir() : '/tmp', 'anyserve-access-'));
  chmodSync(root, 0o755);
  folder = join(root, 'keys');
  mkdirSync(folder);
  chmodSync(folder, 0o755);
  path = join(folder, 'token');
  writeFileSync(path, 'token\n');
  chmodSync(path, 0o600);
});

const listProblems = (isSecret = true): string[] => findAccessProblems({ option: 'x', path, isSecret });

describe('findAccessProblems', () => {
  it('accepts a file that only the owner can access, or a group can read', () => {
    expect(listProblems()).toEqual([]);
    chmodSync(path, 0o640);
    expect(listProblems()).toEqual([]);
  });

  it('reports a secret that every user can read, and a file that every user can change', () => {
    chmodSync(path, 0o644);
    expect(listProblems()).toEqual([`--x: every user can read ${path}; run "chmod o-rwx ${path}"`]);
    expect(listProblems(false)).toEqual([]);
    chmodSync(path, 0o602);
    expect(listProblems(false)).toEqual([`--x: every user can change ${path}; run "chmod go-w ${path}"`]);
  });

  it('accepts a file in a directory that no other user can search', () => {
    chmodSync(path, 0o666);
    chmodSync(root, 0o700);
    expect(listProblems()).toEqual([]);
  });

  it('reports directories in which others can replace the file or a parent directory', () => {
    chmodSync(folder, 0o777);
    expect(listProblems()).toEqual([`--x: every user can replace files in ${folder}; run "chmod go-w ${folder}"`]);
    chmodSync(folder, 0o1777);
    expect(listProblems()).toEqual([]);
    chmodSync(folder, 0o755);
    chmodSync(root, 0o777);
    expect(listProblems()).toEqual([`--x: every user can replace files in ${root}; run "chmod go-w ${root}"`]);
  });

  it('checks the directories of a link and of its target', () => {
    const target = join(root, 'target');
    mkdirSync(target);
    writeFileSync(join(target, 'real'), 'token\n');
    chmodSync(join(target, 'real'), 0o600);
    chmodSync(target, 0o777);
    path = join(folder, 'link');
    symlinkSync(join(target, 'real'), path);
    expect(listProblems()).toEqual([expect.stringContaining(`can replace files in ${target}`)]);
    chmodSync(target, 0o755);
    chmodSync(folder, 0o777);
    expect(listProblems()).toEqual([expect.stringContaining(`can replace files in ${folder}`)]);
  });

  it.runIf(isRoot)('reports a file that another group or user can change', () => {
    chownSync(path, 0, OTHER_GROUP);
    chmodSync(path, 0o660);
    expect(listProblems()).toEqual([`--x: group ${OTHER_GROUP} can change ${path}; run "chmod go-w ${path}"`]);
    chmodSync(path, 0o600);
    chownSync(path, 4321, 0);
    expect(listProblems()).toEqual([expect.stringContaining(`user 4321 owns ${path} and can change it`)]);
  });

  it('has its problems logged once', () => {
    chmodSync(path, 0o646);
    const clock = new ManualClock();
    const log = createRecordingLog();
    const format = { parse: ([text = '']: readonly string[]) => text };
    const current = createReloadingGetter([{ option: 'x', path, isSecret: true }], format, { clock, log });
    expect(log.lines).toHaveLength(2);
    writeFileSync(path, 'other\n');
    clock.advance(1000);
    expect(current()).toBe('other\n');
    expect(log.lines.slice(2)).toEqual([`reloaded: ${path}`]);
  });
});
