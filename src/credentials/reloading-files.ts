import { statSync } from 'node:fs';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, Log } from '../core/ports.js';
import { findAccessProblems } from './file-access.js';
import { type NamedFile, readNamedFile } from './named-file.js';

/** The time and the log of files that are watched for changes. */
export interface FileWatchPorts {
  readonly clock: Clock;
  readonly log: Log;
}

/** Turns the texts of the files into a value. */
export interface FileFormat<T> {
  /** Throws `usage` when the texts can't be used. */
  parse(texts: readonly string[]): T;
  /**
   * Whether a text can't be the beginning of a longer one that means something else. One that can is used at the
   * start, but at a reload only after it has not changed for 2 s. Default: it ends with a newline.
   */
  isComplete?(text: string): boolean;
}

/** Minimum time between two looks at the files, in ms. */
const LOOK_EVERY_MS = 1000;

/** How long files must be unchanged before an incomplete text is used, and before an equal stamp is trusted, in ms. */
const SETTLE_MS = 2000;

/**
 * Returns a getter for the value of some files that reads them again after they changed. Files that can't be used leave
 * the previous value in place, are logged once and are tried again at each look: the reason need not be in them.
 * Files that other users can change, and secrets that they can read, are logged once. Throws `usage` when the files
 * can't be used at the start.
 */
export function createReloadingGetter<T>(
  files: readonly NamedFile[],
  format: FileFormat<T>,
  world: FileWatchPorts,
): () => T {
  const reloading = new ReloadingFiles(files, format, world);
  return () => reloading.current();
}

/** The state of files as of one look: equal stamps mean equal files, except for two changes in one tick of the clock. */
interface Stamp {
  readonly text: string;
  /** The last change of any of the files, in ms since 1970. */
  readonly changedAtMs: number;
}

class ReloadingFiles<T> {
  readonly #files: readonly NamedFile[];
  readonly #format: FileFormat<T>;
  readonly #world: FileWatchPorts;
  #value: T;
  #lookedAtMs: number;
  /** The result of the last look, since when it has been the same, and whether the files were settled by then, so that the stamp can be trusted. */
  #seen: { readonly stamp: string; readonly digest: string | undefined; readonly sinceMs: number; isSettled: boolean };
  /** Digest of the texts that the value was made of; undefined when it was not needed. */
  #usedDigest: string | undefined;
  #problem: string | undefined;

  constructor(files: readonly NamedFile[], format: FileFormat<T>, world: FileWatchPorts) {
    this.#files = files;
    this.#format = format;
    this.#world = world;
    this.#lookedAtMs = world.clock.nowMs();
    const stamp = stampOf(files);
    const texts = files.map(readNamedFile);
    this.#value = format.parse(texts);
    const isSettled = this.#isOld(stamp);
    // Files that rest are not digested: a short command should not load node:crypto for that.
    this.#usedDigest = isSettled ? undefined : digestOf(texts);
    this.#seen = { stamp: stamp.text, digest: this.#usedDigest, sinceMs: this.#lookedAtMs, isSettled };
    for (const problem of new Set(files.flatMap(findAccessProblems))) world.log.warn(problem);
  }

  current(): T {
    const nowMs = this.#world.clock.nowMs();
    if (nowMs - this.#lookedAtMs >= LOOK_EVERY_MS) {
      this.#lookedAtMs = nowMs;
      try {
        if (this.#reload(nowMs)) this.#problem = undefined;
      } catch (error) {
        const problem = getErrorMessage(error);
        if (problem !== this.#problem) this.#world.log.warn(`${problem}; the previous content stays in use`);
        this.#problem = problem;
      }
    }
    return this.#value;
  }

  /** Uses the files if they changed and can be used. Returns false when it is too early to tell. */
  #reload(nowMs: number): boolean {
    const stamp = stampOf(this.#files);
    if (stamp.text === this.#seen.stamp && this.#seen.isSettled && this.#problem === undefined) return true;
    const texts = this.#files.map(plainTextOf);
    // A change while the files were read: the texts may belong to different versions. The next look tells.
    if (stampOf(this.#files).text !== stamp.text) return false;
    const digest = digestOf(texts);
    if (stamp.text !== this.#seen.stamp || digest !== this.#seen.digest) {
      this.#seen = { stamp: stamp.text, digest, sinceMs: nowMs, isSettled: false };
    }
    this.#seen.isSettled = nowMs - this.#seen.sinceMs >= SETTLE_MS || this.#isOld(stamp);
    if (digest === this.#usedDigest) return true;
    const { isComplete = endsWithNewline } = this.#format;
    if (!this.#seen.isSettled && !texts.every(isComplete)) return false;
    this.#value = this.#format.parse(texts);
    this.#usedDigest = digest;
    this.#world.log.info(`reloaded: ${this.#files.map(({ path }) => path).join(', ')}`);
    return true;
  }

  /** Whether the last change is long enough ago by the file system's clock. A clock that is ahead of ours never says so. */
  #isOld({ changedAtMs }: Stamp): boolean {
    return this.#world.clock.epochMs() - changedAtMs >= SETTLE_MS;
  }
}

function endsWithNewline(text: string): boolean {
  return text.endsWith('\n');
}

/** Reads a file again. Opening a pipe could wait forever. */
function plainTextOf(file: NamedFile): string {
  const stat = statSync(file.path, { throwIfNoEntry: false });
  if (stat && !stat.isFile()) {
    throw new AnyserveError('usage', `--${file.option}: cannot read ${file.path} again: it is not a regular file`);
  }
  return readNamedFile(file);
}

/**
 * The change time (ctime) is part of it: the time of modification can be set back. What is not a regular file, such as a
 * pipe, can be read only once and has a constant stamp.
 */
function stampOf(files: readonly NamedFile[]): Stamp {
  let changedAtMs = 0;
  const stamps = files.map(({ path }) => {
    try {
      const stat = statSync(path, { bigint: true });
      if (!stat.isFile()) return '';
      changedAtMs = Math.max(changedAtMs, Number(stat.ctimeMs), Number(stat.mtimeMs));
      return `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`;
    } catch (error) {
      // Missing or out of reach for now: reading it reports that.
      return getErrorMessage(error);
    }
  });
  return { text: stamps.join(), changedAtMs };
}

/** Compares texts without keeping what is secret in them. */
function digestOf(texts: readonly string[]): string {
  return process.getBuiltinModule('node:crypto').hash('sha256', JSON.stringify(texts));
}
