import type { Capability } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { clock, random } from '../system.js';
import type { Backend } from '../worker/backend.js';
import { parseWholeNumber } from './argument-parsers.js';
import type { Arguments, CommandOption } from './command.js';

/** Options of `anyserve worker` for a model that runs in the worker's process. */
export const LLAMA_OPTIONS: Readonly<Record<string, CommandOption>> = {
  llama: {
    type: 'text',
    value: 'FILE',
    description: 'run this GGUF model in the worker; needs the package node-llama-cpp',
  },
  threads: {
    type: 'text',
    value: 'N',
    description: 'with --llama: number of compute threads; when not given, one fewer than the number of cores',
  },
  context: {
    type: 'text',
    value: 'N',
    description: 'with --llama: context size in tokens; when not given, that of the model, up to 4096',
  },
  sequences: {
    type: 'text',
    value: 'N',
    description: 'with --llama: number of texts generated in parallel; 4 when not given',
  },
};

/** Loads the model that `--llama` names. Returns undefined without `--llama`. Throws `usage`. */
export async function createLlamaFromArguments(
  args: Arguments,
  log: Log,
  capabilities: readonly Capability[],
): Promise<Backend | undefined> {
  const path = args.getText('llama');
  if (path === undefined) {
    for (const option of ['threads', 'context', 'sequences']) {
      if (args.getText(option) !== undefined) throw new AnyserveError('usage', `--${option} requires --llama FILE`);
    }
    return undefined;
  }
  const readCount = (option: string, max: number): number | undefined => {
    const text = args.getText(option);
    return text === undefined ? undefined : parseWholeNumber(option, text, 1, max);
  };
  const names = args.getTexts('model');
  if (names.length > 1) throw new AnyserveError('usage', '--llama runs one model; give --model once');
  const { createLlamaBackend } = await import('../worker/llama-backend.js');
  return createLlamaBackend({
    path,
    name: names[0],
    embeddings: args.getTexts('embeddings').length > 0,
    threads: readCount('threads', 1024),
    contextSize: readCount('context', 2 ** 24),
    sequences: readCount('sequences', 256),
    capabilities,
    log,
    clock,
    random,
  });
}
