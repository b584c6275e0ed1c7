import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Capability } from '../core/capability.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { Log, Random } from '../core/ports.js';
import type { Backend } from './backend.js';
import { loadLlamaCpp, startLlama } from './llama-cpp.js';
import { createLlamaEmbeddingModel, createLlamaTextModel } from './llama-models.js';

/** What to run, and how. */
export interface LlamaBackendOptions {
  /** A GGUF file; of one in several parts, the first. */
  readonly path: string;
  /** What the model is called; the file's name without its ending unless told. */
  readonly name?: string | undefined;
  /** Whether it makes vectors of texts; else it writes texts. */
  readonly embeddings: boolean;
  /** How many threads compute; unless told, one for each core that is good at it but one, which takes the calls. */
  readonly threads?: number | undefined;
  /** How many tokens a call may have, prompt and answer together; what the model was made for, up to 4096, unless told. */
  readonly contextSize?: number | undefined;
  /** How many texts are written at once; 4 unless told. */
  readonly sequences?: number | undefined;
  /** What to offer of it beside its type and name. */
  readonly capabilities: readonly Capability[];
  readonly log: Log;
  /** Where the seeds come from that callers do not give. */
  readonly random: Random;
}

/** Runs a GGUF model in this process, by llama.cpp. Throws `usage` that says what is missing or wrong. */
export async function createLlamaBackend(options: LlamaBackendOptions): Promise<Backend> {
  const { path, embeddings, contextSize, sequences = 4, capabilities, log, random } = options;
  if (!existsSync(path)) throw new AnyserveError('usage', `there is no file ${path}`);
  const llamaCpp = await loadLlamaCpp();
  const llama = await startLlama(llamaCpp, log);
  try {
    log.info(`loading ${path}`);
    const model = await llama.loadModel({ modelPath: resolve(path) });
    const name = options.name ?? nameFromPath(path);
    const threads = options.threads ?? Math.max(1, llama.cpuMathCores - 1);
    const loaded = { model, name, threads, contextSize, capabilities };
    const served = embeddings
      ? await createLlamaEmbeddingModel(loaded)
      : await createLlamaTextModel(llamaCpp, loaded, { sequences, random });
    return { models: [served], close: () => llama.dispose() };
  } catch (cause) {
    await llama.dispose();
    throw new AnyserveError('usage', `cannot load ${path}: ${getErrorMessage(cause)}`, { cause });
  }
}

/** `qwen2-q4` for `models/qwen2-q4-00001-of-00002.gguf`. */
function nameFromPath(path: string): string {
  return basename(path).replace(/(?:-\d+-of-\d+)?\.gguf$/i, '');
}
