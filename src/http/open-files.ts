import { readdir, readFile } from 'node:fs/promises';

/** The open files of this process, which include its connections, and their limit. */
export interface OpenFiles {
  readonly open: number;
  /** Infinity if unknown. Only Linux reports it. */
  readonly limit: number;
}

/** Share of the file limit that leases leave free for other requests, with its lower and upper bound in files. */
const RESERVED_SHARE = 1 / 8;
const MIN_RESERVED_FILES = 32;
const MAX_RESERVED_FILES = 1024;

/** Number of files that no connection can use. Counting the open files needs some. */
const INTERNAL_FILES = 8;

/** Counts the open files of this process. */
export async function countOpenFiles(): Promise<OpenFiles> {
  try {
    const [limits, open] = await Promise.all([readFile('/proc/self/limits', 'utf8'), readdir('/proc/self/fd')]);
    const limit = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Number.POSITIVE_INFINITY);
    return { open: open.length, limit };
  } catch {
    return { open: 0, limit: Number.POSITIVE_INFINITY };
  }
}

/** Computes the maximum number of connections, and the number of connections from which new leases are refused. */
export function computeConnectionLimits({ open, limit }: OpenFiles): { maxConnections: number; maxLeases: number } {
  const reserved = Math.min(MAX_RESERVED_FILES, Math.max(MIN_RESERVED_FILES, limit * RESERVED_SHARE));
  const maxConnections = Math.max(1, limit - open - INTERNAL_FILES);
  return { maxConnections, maxLeases: Math.max(0, Math.floor(maxConnections - reserved)) };
}
