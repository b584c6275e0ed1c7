import type { Capability } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { random } from '../system.js';
import type { Backend } from '../worker/backend.js';
import { parseWholeNumber } from './argument-parsers.js';
import type { Arguments, CommandOption } from './command.js';

/** The options of `anyserve worker` for a model in its own process. */
export const LLAMA_OPTIONS: Readonly<Record<string, CommandOption>> = {
  llama: { type: 'text', value: 'FILE', description: 'a GGUF model to run here; needs the package node-llama-cpp' },
  threads: {
    type: 'text',
    value: 'N',
    description: 'with --llama: how many threads compute; one fewer than there are cores when not given',
  },
  context: {
    type: 'text',
    value: 'N',
    description: 'with --llama: the most tokens of a call; what the model was made for, up to 4096, when not given',
  },
  sequences: {
    type: 'text',
    value: 'N',
    description: 'with --llama: how many texts are written at once; 4 when not given',
  },
};

/** Loads the model that `--llama` names; undefined when there is none. Throws `usage`. */
export async function createLlamaFromArguments(
  args: Arguments,
  log: Log,
  capabilities: readonly Capability[],
): Promise<Backend | undefined> {
  const path = args.text('llama');
  if (path === undefined) {
    for (const option of ['threads', 'context', 'sequences']) {
      if (args.text(option) !== undefined) throw new AnyserveError('usage', `--${option} goes with --llama FILE`);
    }
    return undefined;
  }
  const whole = (option: string, most: number): number | undefined => {
    const text = args.text(option);
    return text === undefined ? undefined : parseWholeNumber(option, text, 1, most);
  };
  const names = args.texts('model');
  if (names.length > 1) throw new AnyserveError('usage', '--llama runs one model; give it one name with --model');
  const { createLlamaBackend } = await import('../worker/llama-backend.js');
  return createLlamaBackend({
    path,
    name: names[0],
    embeddings: args.texts('embeddings').length > 0,
    threads: whole('threads', 1024),
    contextSize: whole('context', 2 ** 24),
    sequences: whole('sequences', 256),
    capabilities,
    log,
    random,
  });
}
