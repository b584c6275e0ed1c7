import { createServer } from 'node:net';
import { getErrorMessage } from '../../core/errors.js';
import { countOpenFiles } from '../../http/open-files.js';

/** Result of one check. `warning`: it works, but can fail later or is not safe. */
export interface CheckResult {
  /** Name of the check, such as `clock`. */
  readonly check: string;
  /** Subject of the check: a URL, an endpoint or a port. Undefined for this machine. */
  readonly target?: string | undefined;
  readonly status: 'ok' | 'warning' | 'failed';
  /** The finding and, unless it is ok, the remedy. One line. */
  readonly detail: string;
}

/** Number of open files that a server or a gateway of a large fleet needs: two for each call or lease, and some for the rest. */
const ENOUGH_FILES = 10_000;

/** Names the version of Node.js. A version that is too old can't run this. */
export function checkNodeVersion(): CheckResult {
  return { check: 'node', status: 'ok', detail: `${process.version} on ${process.platform} ${process.arch}` };
}

/** Checks the limit on open files, which include connections. */
export async function checkOpenFileLimit(): Promise<CheckResult> {
  const { limit } = await countOpenFiles();
  if (!Number.isFinite(limit)) return { check: 'open files', status: 'ok', detail: 'the limit is unknown' };
  if (limit >= ENOUGH_FILES) return { check: 'open files', status: 'ok', detail: `the limit is ${limit}` };
  const detail = `the limit is ${limit}, and each lease, stream and call takes one; raise it with "ulimit -n ${ENOUGH_FILES}"`;
  return { check: 'open files', status: 'warning', detail };
}

const PORT_ERROR_REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; stop it, or choose another port',
  EACCES: 'this user may not listen there; choose a port above 1023',
};

/** Checks whether this process can listen on a port of the loopback interface. */
export function checkPort(port: number): Promise<CheckResult> {
  const target = String(port);
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      const detail = PORT_ERROR_REASONS[error.code ?? ''] ?? getErrorMessage(error);
      resolve({ check: 'port', target, status: 'failed', detail });
    });
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => {
      server.close(() => resolve({ check: 'port', target, status: 'ok', detail: 'free' }));
    });
  });
}
