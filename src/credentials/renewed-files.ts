import { readFileSync, statSync } from 'node:fs';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { Clock, Log } from '../core/ports.js';

/** What the world gives files that are looked at again. */
export interface FilesWorld {
  readonly clock: Clock;
  readonly log: Log;
}

/** A file, and the option that names it, for messages. */
export interface NamedFile {
  readonly option: string;
  readonly path: string;
}

/** How often the files are looked at, at most. */
const LOOK_EVERY_MS = 1000;

/**
 * What is in some files, as it is at the time of asking: files that have changed are read again. While new ones cannot
 * be used, what was read before stays, and it is said once; they are tried again at each look, because what was in the way
 * need not be in them. Throws what `parse` throws, and `usage`, for the first ones.
 */
export function renewedFiles<T>(
  files: readonly NamedFile[],
  parse: (texts: readonly string[]) => T,
  { clock, log }: FilesWorld,
): () => T {
  const read = (): T => parse(files.map(textOf));
  let stamp = stampOf(files);
  let lookedAtMs = clock.nowMs();
  let value = read();
  let problem: string | undefined;
  return () => {
    if (clock.nowMs() - lookedAtMs < LOOK_EVERY_MS) return value;
    lookedAtMs = clock.nowMs();
    // Taken before reading: what changes in between is seen at the next look.
    const found = stampOf(files);
    if (found === stamp && problem === undefined) return value;
    try {
      value = read();
      stamp = found;
      problem = undefined;
      log.info(`read again: ${files.map(({ path }) => path).join(', ')}`);
    } catch (error) {
      if (messageOf(error) !== problem) log.warn(`${messageOf(error)}; going on with what was there before`);
      problem = messageOf(error);
    }
    return value;
  };
}

function textOf({ option, path }: NamedFile): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AnyserveError('usage', `--${option}: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** What is another when the files are; what is no plain file, such as a pipe, can be read once only. */
function stampOf(files: readonly NamedFile[]): string {
  const stamps = files.map(({ path }) => {
    try {
      const stat = statSync(path);
      return stat.isFile() ? `${stat.dev} ${stat.ino} ${stat.size} ${stat.mtimeMs}` : '';
    } catch (error) {
      // Gone, or out of reach for now: reading it will say so.
      return messageOf(error);
    }
  });
  return stamps.join();
}
