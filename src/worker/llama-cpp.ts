import type { Llama } from 'node-llama-cpp';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Log } from '../core/ports.js';

/** The package that contains llama.cpp. It is large and only needed to run models inside the worker. */
export type LlamaCpp = typeof import('node-llama-cpp');

/** Loads the package. Throws `usage` with installation instructions if it is missing. */
export async function loadLlamaCpp(): Promise<LlamaCpp> {
  try {
    return await import('node-llama-cpp');
  } catch (cause) {
    const isAbsent = (cause as { code?: string } | null)?.code === 'ERR_MODULE_NOT_FOUND';
    const problem = isAbsent ? 'is not installed' : `cannot be loaded (${getErrorMessage(cause)})`;
    const advice = 'run npm install node-llama-cpp where anyserve is installed, with -g if that is globally';
    const message = `--llama needs the package node-llama-cpp, which ${problem}; ${advice}`;
    throw new AnyserveError('usage', message, { cause });
  }
}

/**
 * Starts llama.cpp on a supported GPU, or else on the CPU. Downloads and builds nothing. Logs llama.cpp's errors but not its
 * warnings, which only help its developers. Throws `usage` if none of its binaries runs on this machine.
 */
export async function startLlama({ getLlama, LlamaLogLevel }: LlamaCpp, log: Log): Promise<Llama> {
  try {
    return await getLlama({
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      // No limit for all contexts together, because each context has its own number of threads.
      maxThreads: 0,
      logLevel: LlamaLogLevel.error,
      logger: (_level, message) => log.warn(`llama.cpp: ${message.trim()}`, { event: 'llama_cpp' }),
    });
  } catch (cause) {
    const problem = `node-llama-cpp has no binary that runs on ${process.platform} ${process.arch}`;
    const advice = 'install it without --omit=optional, or build one: npx node-llama-cpp source download';
    throw new AnyserveError('usage', `${problem} (${getErrorMessage(cause)}); ${advice}`, { cause });
  }
}
