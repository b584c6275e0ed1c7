import { AnyserveError } from '../core/errors.js';
import type { CommandIo } from './command.js';

/** Waits for Ctrl-C or SIGTERM; resolves to the exit code of a role that then ends in good order. */
export function waitForShutdown({ interrupted }: Pick<CommandIo, 'interrupted'>): Promise<number> {
  return new Promise((resolve) => {
    const end = (): void => resolve(getShutdownExitCode(interrupted));
    if (interrupted.aborted) return end();
    interrupted.addEventListener('abort', end, { once: true });
  });
}

/** 130 after Ctrl-C; 0 after SIGTERM, which is how a service is told to stop. */
export function getShutdownExitCode(interrupted: AbortSignal): number {
  return interrupted.reason === 'SIGINT' ? new AnyserveError('interrupted', 'interrupted').exitCode : 0;
}
