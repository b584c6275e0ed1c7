import { parseOpenaiUrl } from '../client/engine/openai-access.js';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { clock } from '../system.js';
import type { Backend } from '../worker/backend.js';
import type { OpenaiBackendOptions } from '../worker/openai-backend.js';
import { parseCap, parseDurationMs } from './argument-parsers.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLlamaFromArguments, LLAMA_OPTIONS } from './llama-options.js';
import { addModelType, OPENAI_ACCESS_OPTIONS, readModelTypes, readOpenaiAccess } from './openai-options.js';

/** Options of `anyserve worker` for the models that it serves. */
export const BACKEND_OPTIONS: Readonly<Record<string, CommandOption>> = {
  backend: {
    type: 'text',
    value: 'NAME',
    description: 'built-in backend: echo, which returns its inputs',
    repeatable: true,
    choices: ['echo'],
  },
  openai: {
    type: 'text',
    value: 'URL',
    description: 'serve the models of this OpenAI-compatible server, such as http://localhost:8000/v1',
    check: parseOpenaiUrl,
  },
  ...LLAMA_OPTIONS,
  model: {
    type: 'text',
    value: 'NAME',
    description: 'with --openai: model to offer; all models when not given. With --llama: name of the model',
    repeatable: true,
  },
  embeddings: {
    type: 'text',
    value: '[NAME]',
    description: 'model of --openai or --llama that computes embeddings (type=embed); all models when NAME is omitted',
    repeatable: true,
    mayBeEmpty: true,
    mayStandAlone: true,
  },
  type: {
    type: 'text',
    value: 'NAME=TYPE',
    description: 'type of a model of --openai, embed or chat; overrides the type that the server reports',
    repeatable: true,
  },
  ...OPENAI_ACCESS_OPTIONS,
  'openai-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'timeout for the first byte of a response of --openai',
    default: `${DEFAULTS.upstreamTimeoutMs / 1000}s`,
  },
  'openai-idle-timeout': {
    type: 'text',
    value: 'TIME',
    description:
      'maximum time between two bytes of a response of --openai; ' +
      `when not given, ${DEFAULTS.upstreamIdleTimeoutMs / 1000}s, or --openai-timeout if that is less`,
  },
  'probe-path': {
    type: 'text',
    value: 'PATH|none',
    description:
      'path for health probes of --openai, relative to its URL or, if not found there, to the parent of its /v1; ' +
      'when not given, /models, and /health of vLLM, SGLang, llama.cpp and TGI',
  },
};

/** Backends of a worker, and capabilities that override theirs. */
export interface LoadedBackends {
  readonly backends: readonly Backend[];
  /** Capabilities to register instead of those of the only model. Empty for an engine, whose models already include them. */
  readonly capabilities: readonly Capability[];
}

/** Loads the backends that the command line names, and only their code. Throws `usage`. */
export async function loadBackends(args: Arguments, io: CommandIo, log: Log): Promise<LoadedBackends> {
  const [module] = args.words;
  const capabilities = args.getTexts('cap').map(parseCap);
  const backends: Backend[] = [];
  if (module !== undefined) {
    const { loadModuleBackend } = await import('../worker/module-backend.js');
    backends.push(await loadModuleBackend(module));
  }
  for (const name of args.getTexts('backend')) {
    if (name !== 'echo')
      throw new AnyserveError('usage', `unknown backend ${JSON.stringify(name)}; the only one is "echo"`);
    const { createEchoBackend } = await import('../worker/echo-backend.js');
    backends.push(createEchoBackend());
  }
  const engine = await createEngine(args, io, log, capabilities);
  if (engine) return { backends: [...backends, engine], capabilities: [] };
  if (backends.length > 0) return { backends, capabilities };
  throw new AnyserveError(
    'usage',
    'no models to serve: give a MODULE that declares models, --openai URL, --llama FILE, or --backend echo for a test',
  );
}

/** Creates the engine that the options name. Resolves to undefined when there is none. Throws `usage`. */
async function createEngine(
  args: Arguments,
  io: CommandIo,
  log: Log,
  capabilities: readonly Capability[],
): Promise<Backend | undefined> {
  const url = args.getText('openai');
  const llama = await createLlamaFromArguments(args, log, capabilities);
  if (llama && url !== undefined) {
    throw new AnyserveError('usage', '--openai and --llama exclude each other; run one worker for each');
  }
  if (url === undefined) {
    for (const option of llama ? OPENAI_OPTIONS : [...ENGINE_OPTIONS, ...OPENAI_OPTIONS]) {
      const engines = OPENAI_OPTIONS.includes(option) ? '--openai URL' : '--openai URL or --llama FILE';
      if (args.isGiven(option)) throw new AnyserveError('usage', `--${option} requires ${engines}`);
    }
    return llama;
  }
  const { createOpenaiBackend } = await import('../worker/openai-backend.js');
  const access = await readOpenaiAccess(url, args, io, log);
  const timeoutMs = parseDurationMs('openai-timeout', args.getText('openai-timeout') ?? '', 1);
  const idle = args.getText('openai-idle-timeout');
  return createOpenaiBackend(
    {
      ...access,
      timeoutMs,
      idleTimeoutMs:
        idle === undefined
          ? Math.min(DEFAULTS.upstreamIdleTimeoutMs, timeoutMs)
          : parseDurationMs('openai-idle-timeout', idle, 1),
      probePath: args.getText('probe-path'),
      models: args.getTexts('model'),
      ...readServedTypes(args),
      capabilities,
      clock,
      log,
    },
    io.interrupted,
  );
}

/** Options that require `--openai` or `--llama`. */
const ENGINE_OPTIONS: readonly string[] = ['model', 'embeddings'];

/** Options that require `--openai`. */
const OPENAI_OPTIONS: readonly string[] = [
  'openai-key-file',
  'openai-tls-ca',
  'openai-tls-cert',
  'openai-tls-key',
  'openai-timeout',
  'openai-idle-timeout',
  'probe-path',
  'type',
];

/** Reads which models are for embeddings and which for chat. Throws `usage` for another type, or if a model has two types. */
function readServedTypes(args: Arguments): Pick<OpenaiBackendOptions, 'embeddingModels' | 'chatModels'> {
  const types = readModelTypes(args, ['embed', 'chat']);
  const embeddings = args.getTexts('embeddings');
  for (const name of embeddings) if (name !== '') addModelType(types, name, 'embed');
  const listModels = (type: string): string[] => [...types.keys()].filter((name) => types.get(name) === type);
  return { embeddingModels: embeddings.includes('') ? 'all' : listModels('embed'), chatModels: listModels('chat') };
}
