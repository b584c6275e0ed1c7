import { realpathSync, type Stats, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { NamedFile } from './named-file.js';

const READ = 4;
const WRITE = 2;
const SEARCH = 1;
/** In a folder with this bit only the owner of a file can replace it. */
const STICKY = 0o1000;

/**
 * Returns what is wrong with the access to a file, one line each: other users can change it, directly or by
 * replacing it in one of its folders; or it is secret and every user can read it. Root and this process's user are
 * trusted. Empty where files have no modes, and for what is not a regular file.
 */
export function findAccessProblems({ option, path, isSecret = false }: NamedFile): string[] {
  if (process.getuid === undefined) return [];
  const file = statSync(path, { throwIfNoEntry: false });
  // A deleted file, such as a shell's here-document at /dev/stdin, is in no folder.
  if (!file?.isFile() || file.nlink === 0) return [];
  const folders = foldersOf(path);
  const problems: string[] = [];
  if (file.uid !== 0 && file.uid !== process.getuid()) {
    problems.push(`user ${file.uid} owns ${path} and can change it; chown it to the user of this process or root`);
  }
  const isReachable = folders.every((folder) => othersWith(SEARCH, statSync(folder)));
  const writers = isReachable ? othersWith(WRITE, file) : undefined;
  if (writers) problems.push(`${writers} can change ${path}; run "chmod go-w ${path}"`);
  for (const folder of folders) {
    const replacers = replacersIn(folder);
    if (replacers) problems.push(`${replacers} can replace files in ${folder}; run "chmod go-w ${folder}"`);
  }
  if (isSecret && isReachable && file.mode & READ) {
    problems.push(`every user can read ${path}; run "chmod o-rwx ${path}"`);
  }
  return problems.map((problem) => `--${option}: ${problem}`);
}

/** The folders that lead to a file, and to the file that it links to. */
function foldersOf(path: string): string[] {
  const found = new Set<string>();
  for (let folder of [dirname(resolve(path)), dirname(realpathSync(path))]) {
    for (; !found.has(folder); folder = dirname(folder)) found.add(folder);
  }
  return [...found];
}

/** Which other users can put another file in the place of one in the folder, or of one further in. */
function replacersIn(folder: string): string | undefined {
  const stat = statSync(folder);
  if (stat.mode & STICKY) return undefined;
  let outer = folder;
  while (outer !== dirname(outer)) {
    outer = dirname(outer);
    if (!othersWith(SEARCH, statSync(outer))) return undefined;
  }
  return othersWith(SEARCH, stat) && othersWith(WRITE, stat);
}

/** Which other users have a right. This process's own group is not counted: on many systems it has one member only. */
function othersWith(right: number, { mode, gid }: Stats): string | undefined {
  if (mode & right) return 'every user';
  const isForeignGroup = gid !== 0 && gid !== process.getgid?.();
  return isForeignGroup && mode & (right << 3) ? `group ${gid}` : undefined;
}
