import { closeSync, openSync, readSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { AnyserveError, getErrorMessage } from '../core/errors.js';

/** A file, with the command-line option that names it, for error messages. */
export interface NamedFile {
  readonly option: string;
  readonly path: string;
  /** Whether the file contains a secret, such as a token or a private key. Default: false. */
  readonly isSecret?: boolean;
}

/** Maximum size of a file with tokens or certificates, in bytes. CA bundles of operating systems have about 0.5 MB. */
const MAX_NAMED_FILE_BYTES = 4 * 1024 * 1024;

/** Reads a file or a pipe as UTF-8. Throws `usage` if that fails or the file is larger than 4 MiB. */
export function readNamedFile({ option, path }: NamedFile): string {
  try {
    return readBounded(path);
  } catch (cause) {
    throw new AnyserveError('usage', `--${option}: cannot read ${path}: ${describeFileError(cause)}`, { cause });
  }
}

/** Describes why a file could not be read, without its path, which Node.js adds to its own messages. */
export function describeFileError(error: unknown): string {
  const { errno } = error as NodeJS.ErrnoException;
  const [, description] = (errno !== undefined && getSystemErrorMap().get(errno)) || [];
  return description ?? getErrorMessage(error);
}

/** Reads in pieces up to the limit, because pipes and devices do not report a size. */
function readBounded(path: string): string {
  const file = openSync(path, 'r');
  try {
    const pieces: Buffer[] = [];
    for (let size = 0; ; ) {
      const piece = Buffer.allocUnsafe(16 * 1024);
      const read = readSync(file, piece, 0, piece.length, null);
      if (read === 0) return Buffer.concat(pieces).toString('utf8');
      size += read;
      if (size > MAX_NAMED_FILE_BYTES) throw new Error(`it is larger than ${MAX_NAMED_FILE_BYTES} bytes`);
      pieces.push(piece.subarray(0, read));
    }
  } finally {
    closeSync(file);
  }
}
