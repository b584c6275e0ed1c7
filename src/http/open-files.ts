import { readdir, readFile } from 'node:fs/promises';

/** How many files this process has open, connections among them, and how many it may have. */
export interface OpenFiles {
  readonly open: number;
  /** Infinity where the system does not say: only Linux does. */
  readonly limit: number;
}

/** A part of the files that leases leave to requests, and the least and the most that it is. */
const RESERVED_PART = 1 / 8;
const LEAST_RESERVED = 32;
const MOST_RESERVED = 1024;

/** What stays free of connections, for reading what the system says of them. */
const OWN = 8;

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

/** How many connections a process with so many open files can have at all, and how many before it refuses leases. */
export function computeConnectionLimits({ open, limit }: OpenFiles): { maxConnections: number; maxLeases: number } {
  const reserved = Math.min(MOST_RESERVED, Math.max(LEAST_RESERVED, limit * RESERVED_PART));
  const maxConnections = Math.max(1, limit - open - OWN);
  return { maxConnections, maxLeases: Math.max(0, Math.floor(maxConnections - reserved)) };
}
