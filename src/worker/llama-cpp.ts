import type { Llama } from 'node-llama-cpp';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Log } from '../core/ports.js';

/** The package that brings llama.cpp. It is large, and only who wants a model in the worker itself installs it. */
export type LlamaCpp = typeof import('node-llama-cpp');

/** Loads the package. Throws `usage` that says how to install it. */
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
 * Starts llama.cpp: on the GPU where there is one that it can use, else on the CPU. Nothing is downloaded or built.
 * Its errors go to the log; its warnings are of no use to whoever did not write it. Throws `usage` where none of its binaries runs.
 */
export async function startLlama({ getLlama, LlamaLogLevel }: LlamaCpp, log: Log): Promise<Llama> {
  try {
    return await getLlama({
      build: 'never',
      skipDownload: true,
      progressLogs: false,
      // No bound for all contexts together: each has its own number of threads.
      maxThreads: 0,
      logLevel: LlamaLogLevel.error,
      logger: (_level, message) => log.warn(`llama.cpp: ${message.trim()}`),
    });
  } catch (cause) {
    const problem = `node-llama-cpp has no binary that runs on ${process.platform} ${process.arch}`;
    const advice = 'install it without --omit=optional, or build one: npx node-llama-cpp source download';
    throw new AnyserveError('usage', `${problem} (${getErrorMessage(cause)}); ${advice}`, { cause });
  }
}
