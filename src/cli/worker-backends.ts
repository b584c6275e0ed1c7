import { readFile } from 'node:fs/promises';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { clock } from '../system.js';
import type { Backend } from '../worker/backend.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { LLAMA_OPTIONS, llamaBackendFrom } from './llama-options.js';
import { capabilityFromCap, durationMs } from './values.js';

/** The options of `anyserve worker` that say what it serves. */
export const BACKEND_OPTIONS: Readonly<Record<string, CommandOption>> = {
  backend: {
    type: 'text',
    value: 'NAME',
    description: 'a built-in: echo, which answers with its inputs',
    repeatable: true,
    choices: ['echo'],
  },
  openai: {
    type: 'text',
    value: 'URL',
    description: 'the models of an OpenAI-compatible server, such as http://localhost:8000/v1',
  },
  ...LLAMA_OPTIONS,
  model: {
    type: 'text',
    value: 'NAME',
    description: 'a model to offer of those that --openai lists, all when not given; or the name of that of --llama',
    repeatable: true,
  },
  embeddings: {
    type: 'text',
    value: '[NAME]',
    description: 'a model of --openai or --llama that turns texts into vectors (type=embed); all when no name follows',
    repeatable: true,
    mayBeEmpty: true,
    mayStandAlone: true,
  },
  'openai-key-file': {
    type: 'text',
    value: 'FILE',
    description: 'a file with the key for --openai; else ANYSERVE_OPENAI_KEY or OPENAI_API_KEY is the key',
  },
  'openai-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'how long the server may take to answer, and between two parts of an answer',
    default: `${DEFAULTS.upstreamTimeoutMs / 1000}s`,
  },
};

/** What a worker serves, and what remains to be said of what it can do. */
export interface ChosenBackends {
  readonly backends: readonly Backend[];
  /** What to register in place of what the one model says it can do; an engine's models have taken it in already. */
  readonly capabilities: readonly Capability[];
}

/** Loads what the command line asks for, and nothing else. Throws `usage`. */
export async function backendsFrom(args: Arguments, io: CommandIo, log: Log): Promise<ChosenBackends> {
  const [module] = args.words;
  const capabilities = args.texts('cap').map(capabilityFromCap);
  const backends: Backend[] = [];
  if (module !== undefined) {
    const { loadModuleBackend } = await import('../worker/module-backend.js');
    backends.push(await loadModuleBackend(module));
  }
  for (const name of args.texts('backend')) {
    if (name !== 'echo')
      throw new AnyserveError('usage', `there is no backend ${JSON.stringify(name)}; there is "echo"`);
    const { createEchoBackend } = await import('../worker/echo-backend.js');
    backends.push(createEchoBackend());
  }
  const engine = await engineFrom(args, io, log, capabilities);
  if (engine) return { backends: [...backends, engine], capabilities: [] };
  if (backends.length > 0) return { backends, capabilities };
  throw new AnyserveError(
    'usage',
    'give a MODULE that declares models, --openai URL, --llama FILE, or --backend echo to try things out',
  );
}

/** The engine asked for; undefined when there is none. */
async function engineFrom(
  args: Arguments,
  io: CommandIo,
  log: Log,
  capabilities: readonly Capability[],
): Promise<Backend | undefined> {
  const url = args.text('openai');
  const llama = await llamaBackendFrom(args, log, capabilities);
  if (llama && url !== undefined) {
    throw new AnyserveError('usage', 'a worker has --openai or --llama, one of them; run one worker for each');
  }
  if (url === undefined) {
    for (const option of llama ? ['openai-key-file'] : ['model', 'embeddings', 'openai-key-file']) {
      const engines = option === 'openai-key-file' ? '--openai URL' : '--openai URL or --llama FILE';
      if (args.texts(option).length > 0) throw new AnyserveError('usage', `--${option} goes with ${engines}`);
    }
    return llama;
  }
  const { createOpenaiBackend } = await import('../worker/openai-backend.js');
  const embeddings = args.texts('embeddings');
  return createOpenaiBackend(
    {
      url,
      key: await openaiKey(args, io),
      timeoutMs: durationMs('openai-timeout', args.text('openai-timeout') ?? ''),
      models: args.texts('model'),
      embeddings: embeddings.includes('') ? 'all' : embeddings,
      capabilities,
      clock,
      log,
    },
    io.interrupted,
  );
}

/** The key for the server; never out of an argument, because every user of a machine sees those. */
async function openaiKey(args: Arguments, { env }: CommandIo): Promise<string | undefined> {
  const file = args.text('openai-key-file');
  if (file === undefined) return env['ANYSERVE_OPENAI_KEY'] || env['OPENAI_API_KEY'] || undefined;
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (cause) {
    throw new AnyserveError('usage', `--openai-key-file: cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}
