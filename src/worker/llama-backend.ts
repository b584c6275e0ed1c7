import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Capability } from '../core/capability.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Clock, Log, Random } from '../core/ports.js';
import { LineLimits } from '../telemetry/line-limits.js';
import type { Backend } from './backend.js';
import { loadLlamaCpp, startLlama } from './llama-cpp.js';
import { createLlamaEmbeddingModel, createLlamaTextModel } from './llama-models.js';

/** Options of a backend that runs a model with llama.cpp. */
export interface LlamaBackendOptions {
  /** Path of a GGUF file. For a model in several files, the first one. */
  readonly path: string;
  /** Model name. Default: the file name without its extension. */
  readonly name?: string | undefined;
  /** Whether the model creates embeddings. Otherwise it generates text. */
  readonly embeddings: boolean;
  /** Number of compute threads. Default: the number of cores suited for math minus one, which is left for the calls. */
  readonly threads?: number | undefined;
  /** Maximum number of tokens of a call, prompt and output together. Default: the model's own limit, up to 4,096. */
  readonly contextSize?: number | undefined;
  /** Number of texts that are generated at once. Default: 4. */
  readonly sequences?: number | undefined;
  /** Capabilities to register in addition to the model's type and name. */
  readonly capabilities: readonly Capability[];
  readonly log: Log;
  readonly clock: Clock;
  /** Source of seeds for calls without one. */
  readonly random: Random;
}

/** Creates a backend that runs a GGUF model in this process with llama.cpp. Throws `usage` with the problem. */
export async function createLlamaBackend(options: LlamaBackendOptions): Promise<Backend> {
  const { path, embeddings, contextSize, sequences = 4, capabilities, log, clock, random } = options;
  if (!existsSync(path)) throw new AnyserveError('usage', `file not found: ${path}`);
  const llamaCpp = await loadLlamaCpp();
  const llama = await startLlama(llamaCpp, new LineLimits(log, clock).getLog('llama.cpp'));
  try {
    log.info(`loading ${path}`, { event: 'loading', path });
    const model = await llama.loadModel({ modelPath: resolve(path) });
    const name = options.name ?? getModelName(path);
    const threads = options.threads ?? Math.max(1, llama.cpuMathCores - 1);
    const loaded = { model, name, threads, contextSize, capabilities };
    const servedModel = embeddings
      ? await createLlamaEmbeddingModel(loaded)
      : await createLlamaTextModel(llamaCpp, loaded, { sequences, random });
    return { models: [servedModel], close: () => llama.dispose() };
  } catch (cause) {
    await llama.dispose();
    throw new AnyserveError('usage', `cannot load ${path}: ${getErrorMessage(cause)}`, { cause });
  }
}

/** Returns the model name of a file: `qwen2-q4` for `models/qwen2-q4-00001-of-00002.gguf`. */
function getModelName(path: string): string {
  return basename(path).replace(/(?:-\d+-of-\d+)?\.gguf$/i, '');
}
