import { statSync } from 'node:fs';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, Log } from '../core/ports.js';
import { findAccessProblems } from './file-access.js';
import { type NamedFile, readNamedFile } from './named-file.js';

/** The clock and the log that reloading files use. */
export interface ReloadingPorts {
  readonly clock: Clock;
  readonly log: Log;
}

/** Conversion of the contents of files to a value. */
export interface FileFormat<T> {
  /** Parses the contents, one string per file. Throws `usage` if they are invalid. */
  parse(texts: readonly string[]): T;
  /**
   * Returns whether the content of a file does not end within a line or block. It can still lack lines, if the file is being
   * written. A reload uses incomplete content only after the file has not changed for 2 s. The first load uses any content.
   * Default: whether the content ends with a newline.
   */
  isComplete?(text: string): boolean;
}

/** Minimum time between two checks of the files for changes, in ms. */
const FILE_CHECK_INTERVAL_MS = 1000;

/** Time without changes after which incomplete content is used, and an unchanged stamp is trusted, in ms. */
const SETTLE_MS = 2000;

/**
 * Creates a getter for a value that is parsed from files. The getter checks the files at most once a second and reads
 * them again after a change. If they become invalid, the getter logs the problem once, keeps the previous value and
 * tries again at each check, because the cause can be outside of the files. Also logs, once, problems with the
 * permissions of the files. Throws `usage` if the files are invalid at the first load.
 */
export function createReloadingGetter<T>(
  files: readonly NamedFile[],
  format: FileFormat<T>,
  ports: ReloadingPorts,
): () => T {
  const reloading = new ReloadingFiles(files, format, ports);
  return () => reloading.getCurrent();
}

/** Identifies a version of the files. Equal stamps mean equal contents, except after two changes in one clock tick. */
interface Stamp {
  readonly text: string;
  /** Time of the latest change of any file, in ms since 1970. */
  readonly changedAtMs: number;
}

class ReloadingFiles<T> {
  readonly #files: readonly NamedFile[];
  readonly #format: FileFormat<T>;
  readonly #ports: ReloadingPorts;
  #value: T;
  #checkedAtMs: number;
  /**
   * The last version seen, when it was first seen, and whether it had not changed for so long that its stamp is
   * trusted.
   */
  #seen: { readonly stamp: string; readonly digest: string | undefined; readonly sinceMs: number; isSettled: boolean };
  /** Digest of the contents that the value was parsed from. Undefined if it was not computed. */
  #usedDigest: string | undefined;
  #problem: string | undefined;

  constructor(files: readonly NamedFile[], format: FileFormat<T>, ports: ReloadingPorts) {
    this.#files = files;
    this.#format = format;
    this.#ports = ports;
    this.#checkedAtMs = ports.clock.nowMs();
    const stamp = getStamp(files);
    const texts = files.map(readNamedFile);
    this.#value = format.parse(texts);
    const isSettled = this.#isSettledByFileTime(stamp);
    // Settled files need no digest. Not loading node:crypto keeps short commands fast.
    this.#usedDigest = isSettled ? undefined : computeDigest(texts);
    this.#seen = { stamp: stamp.text, digest: this.#usedDigest, sinceMs: this.#checkedAtMs, isSettled };
    for (const problem of new Set(files.flatMap(findAccessProblems)))
      ports.log.warn(problem, { event: 'file_access_problem' });
  }

  /** Returns the current value, after reloading the files if the last check is long enough ago. */
  getCurrent(): T {
    const nowMs = this.#ports.clock.nowMs();
    if (nowMs - this.#checkedAtMs >= FILE_CHECK_INTERVAL_MS) {
      this.#checkedAtMs = nowMs;
      try {
        if (this.#reload(nowMs)) this.#problem = undefined;
      } catch (error) {
        const problem = getErrorMessage(error);
        if (problem !== this.#problem)
          this.#ports.log.warn(`${problem}; the previous content stays in use`, {
            event: 'reload_failed',
            error: problem,
          });
        this.#problem = problem;
      }
    }
    return this.#value;
  }

  /** Reloads the files if they changed. Returns false if they are still being written. Throws if they are invalid. */
  #reload(nowMs: number): boolean {
    const stamp = getStamp(this.#files);
    if (stamp.text === this.#seen.stamp && this.#seen.isSettled && this.#problem === undefined) return true;
    const texts = this.#files.map(readRegularFile);
    // The files changed while they were read, so the contents can belong to different versions. The next check decides.
    if (getStamp(this.#files).text !== stamp.text) return false;
    const digest = computeDigest(texts);
    if (stamp.text !== this.#seen.stamp || digest !== this.#seen.digest) {
      this.#seen = { stamp: stamp.text, digest, sinceMs: nowMs, isSettled: false };
    }
    this.#seen.isSettled = nowMs - this.#seen.sinceMs >= SETTLE_MS || this.#isSettledByFileTime(stamp);
    if (digest === this.#usedDigest) return true;
    const { isComplete = endsWithNewline } = this.#format;
    if (!this.#seen.isSettled && !texts.every(isComplete)) return false;
    this.#value = this.#format.parse(texts);
    this.#usedDigest = digest;
    const files = this.#files.map(({ path }) => path).join(', ');
    this.#ports.log.info(`reloaded: ${files}`, { event: 'reloaded', files });
    return true;
  }

  /** Returns whether the last change is old by the file's own time. Never true if the file system's clock is ahead. */
  #isSettledByFileTime({ changedAtMs }: Stamp): boolean {
    return this.#ports.clock.epochMs() - changedAtMs >= SETTLE_MS;
  }
}

function endsWithNewline(text: string): boolean {
  return text.endsWith('\n');
}

/** Reads a file again. Throws for anything but regular files, because opening a pipe can block forever. */
function readRegularFile(file: NamedFile): string {
  if (isNotRegularFile(file.path)) {
    throw new AnyserveError('usage', `--${file.option}: cannot read ${file.path} again: it is not a regular file`);
  }
  return readNamedFile(file);
}

/** Returns whether a path leads to something other than a regular file. If it leads nowhere, reading it reports why. */
function isNotRegularFile(path: string): boolean {
  try {
    return !statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * Returns the stamp of the files. It includes the change time (ctime), because programs can reset the modification
 * time. Anything but a regular file, such as a pipe, can be read only once and has a constant stamp.
 */
function getStamp(files: readonly NamedFile[]): Stamp {
  let changedAtMs = 0;
  const stamps = files.map(({ path }) => {
    try {
      const stat = statSync(path, { bigint: true });
      if (!stat.isFile()) return '';
      changedAtMs = Math.max(changedAtMs, Number(stat.ctimeMs), Number(stat.mtimeMs));
      return `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`;
    } catch (error) {
      // The file is missing or unreachable. Reading it reports that.
      return getErrorMessage(error);
    }
  });
  return { text: stamps.join(), changedAtMs };
}

/** Computes a digest for comparing contents, so that no secrets are kept in memory. */
function computeDigest(texts: readonly string[]): string {
  return process.getBuiltinModule('node:crypto').hash('sha256', JSON.stringify(texts));
}
