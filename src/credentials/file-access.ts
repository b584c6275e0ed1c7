import { realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { NamedFile } from './named-file.js';

/** Permission bits of a file mode, for "others". */
const READ = 4;
const WRITE = 2;
const SEARCH = 1;

/** Mode bit of a directory in which only the owner of a file can replace it. */
const STICKY = 0o1000;

/**
 * Returns the problems with the permissions of a file, one line each: other users can change it or replace it in one of
 * its parent directories, or every user can read a secret file. Root and the user of this process are trusted. Returns
 * an empty list for anything but regular files, and on systems without file modes.
 */
export function findAccessProblems({ option, path, isSecret = false }: NamedFile): string[] {
  if (process.getuid === undefined) return [];
  const file = statSync(path, { throwIfNoEntry: false });
  // A deleted file is in no directory. An example is a shell's here-document at /dev/stdin.
  if (!file?.isFile() || file.nlink === 0) return [];
  const directories = listParentDirectories(path);
  const problems: string[] = [];
  if (file.uid !== 0 && file.uid !== process.getuid()) {
    problems.push(`user ${file.uid} owns ${path} and can change it; chown it to the user of this process or root`);
  }
  const isReachable = directories.every((directory) => findUsersWith(SEARCH, statSync(directory)));
  const writers = isReachable ? findUsersWith(WRITE, file) : undefined;
  if (writers) problems.push(`${writers} can change ${path}; run "chmod go-w ${path}"`);
  for (const directory of directories) {
    const replacers = findReplacers(directory);
    if (replacers) problems.push(`${replacers} can replace files in ${directory}; run "chmod go-w ${directory}"`);
  }
  if (isSecret && isReachable && file.mode & READ) {
    problems.push(`every user can read ${path}; run "chmod o-rwx ${path}"`);
  }
  return problems.map((problem) => `--${option}: ${problem}`);
}

/** Lists all parent directories of a path, and of the file that it links to. */
function listParentDirectories(path: string): string[] {
  const found = new Set<string>();
  for (let directory of [dirname(resolve(path)), dirname(realpathSync(path))]) {
    for (; !found.has(directory); directory = dirname(directory)) found.add(directory);
  }
  return [...found];
}

/**
 * Returns which other users can replace files in a directory. They need access to all of its parent directories too.
 */
function findReplacers(directory: string): string | undefined {
  const stat = statSync(directory);
  if (stat.mode & STICKY) return undefined;
  let outer = directory;
  while (outer !== dirname(outer)) {
    outer = dirname(outer);
    if (!findUsersWith(SEARCH, statSync(outer))) return undefined;
  }
  return findUsersWith(SEARCH, stat) && findUsersWith(WRITE, stat);
}

/** Returns which other users have a permission. Ignores this process's own group, which often has only one member. */
function findUsersWith(permission: number, { mode, gid }: Stats): string | undefined {
  if (mode & permission) return 'every user';
  const isForeignGroup = gid !== 0 && gid !== process.getgid?.();
  return isForeignGroup && mode & (permission << 3) ? `group ${gid}` : undefined;
}
