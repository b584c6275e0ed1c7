import { readdir, readFile } from 'node:fs/promises';
import type { Server } from 'node:net';

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

/** Limits and counts the connections of a server, so that it doesn't run out of file descriptors. */
export class ConnectionLimit {
  readonly #files: OpenFiles;
  readonly #limits: ReturnType<typeof computeConnectionLimits>;
  #connections = 0;

  constructor(files: OpenFiles) {
    this.#files = files;
    this.#limits = computeConnectionLimits(files);
  }

  /** Returns why there are no file descriptors for further leases; undefined if there are. */
  findProblem(): string | undefined {
    if (this.#connections <= this.#limits.maxLeases) return undefined;
    const { open, limit } = this.#files;
    return `${open + this.#connections} of ${limit} file descriptors are in use; raise the limit with ulimit -n`;
  }

  /** Starts to limit and count the connections of a server. */
  apply(server: Server): void {
    if (Number.isFinite(this.#limits.maxConnections)) server.maxConnections = this.#limits.maxConnections;
    server.on('connection', (socket) => {
      this.#connections++;
      socket.once('close', () => this.#connections--);
    });
  }
}
