import { AnyserveError } from '../core/errors.js';
import type { CommandIo } from './command.js';

/** Waits for Ctrl-C or SIGTERM. Resolves to the exit code for a graceful shutdown. */
export function waitForShutdown({ interrupted }: Pick<CommandIo, 'interrupted'>): Promise<number> {
  return new Promise((resolve) => {
    const finish = (): void => resolve(getShutdownExitCode(interrupted));
    if (interrupted.aborted) return finish();
    interrupted.addEventListener('abort', finish, { once: true });
  });
}

/** Returns 130 after Ctrl-C, and 0 after SIGTERM, the regular way to stop a service. */
export function getShutdownExitCode(interrupted: AbortSignal): number {
  return interrupted.reason === 'SIGINT' ? new AnyserveError('interrupted', 'interrupted').exitCode : 0;
}
