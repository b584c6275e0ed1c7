import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { Log } from '../core/ports.js';
import { createReloadingGetter } from '../credentials/reloading-files.js';
import { clock } from '../system.js';
import type { Backend } from '../worker/backend.js';
import type { OpenaiBackendOptions } from '../worker/openai-backend.js';
import { parseCap, parseDurationMs } from './argument-parsers.js';
import type { Arguments, CommandIo, CommandOption } from './command.js';
import { createLlamaFromArguments, LLAMA_OPTIONS } from './llama-options.js';
import { createClientTlsOptions, readClientTls } from './tls-options.js';

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
  type: {
    type: 'text',
    value: 'NAME=TYPE',
    description: 'what a model of --openai is for, embed or chat, in place of what the server says',
    repeatable: true,
  },
  'openai-key-file': {
    type: 'text',
    value: 'FILE',
    description: 'a file with the key for --openai; else ANYSERVE_OPENAI_KEY or OPENAI_API_KEY is the key',
  },
  ...createClientTlsOptions('at an https URL of --openai', 'openai-'),
  'openai-timeout': {
    type: 'text',
    value: 'TIME',
    description: 'time to the first byte of an answer of --openai',
    default: `${DEFAULTS.upstreamTimeoutMs / 1000}s`,
  },
  'openai-idle-timeout': {
    type: 'text',
    value: 'TIME',
    description:
      'time between two bytes of an answer of --openai; ' +
      `${DEFAULTS.upstreamIdleTimeoutMs / 1000}s when not given, or --openai-timeout if that is less`,
  },
  'probe-path': {
    type: 'text',
    value: 'PATH|none',
    description:
      'what to ask --openai for to see whether it is well: a path below its URL or, if that is not found, beside its ' +
      '/v1; /models when not given, and /health of vLLM, SGLang, llama.cpp and TGI',
  },
};

/** What a worker serves, and what remains to be said of what it can do. */
export interface LoadedBackends {
  readonly backends: readonly Backend[];
  /** What to register in place of what the one model says it can do; an engine's models have taken it in already. */
  readonly capabilities: readonly Capability[];
}

/** Loads what the command line asks for, and nothing else. Throws `usage`. */
export async function loadBackends(args: Arguments, io: CommandIo, log: Log): Promise<LoadedBackends> {
  const [module] = args.words;
  const capabilities = args.texts('cap').map(parseCap);
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
  const llama = await createLlamaFromArguments(args, log, capabilities);
  if (llama && url !== undefined) {
    throw new AnyserveError('usage', 'a worker has --openai or --llama, one of them; run one worker for each');
  }
  if (url === undefined) {
    for (const option of llama ? OPENAI_OPTIONS : [...ENGINE_OPTIONS, ...OPENAI_OPTIONS]) {
      const engines = OPENAI_OPTIONS.includes(option) ? '--openai URL' : '--openai URL or --llama FILE';
      if (args.texts(option).length > 0) throw new AnyserveError('usage', `--${option} goes with ${engines}`);
    }
    return llama;
  }
  const [{ createOpenaiBackend }, { resolveUpstreamProxy }] = await Promise.all([
    import('../worker/openai-backend.js'),
    import('../worker/upstream-proxy.js'),
  ]);
  const proxy = await resolveUpstreamProxy(url, io.env);
  if (proxy) log.info(`asks ${url} through the proxy ${proxy.name}; NO_PROXY names hosts to ask directly`);
  const timeoutMs = parseDurationMs('openai-timeout', args.text('openai-timeout') ?? '', 1);
  const idle = args.text('openai-idle-timeout');
  return createOpenaiBackend(
    {
      url,
      key: await openaiKey(args, io, log),
      timeoutMs,
      idleTimeoutMs:
        idle === undefined
          ? Math.min(DEFAULTS.upstreamIdleTimeoutMs, timeoutMs)
          : parseDurationMs('openai-idle-timeout', idle, 1),
      tls: readClientTls(args, io, 'openai-'),
      proxy,
      probePath: args.text('probe-path'),
      models: args.texts('model'),
      ...modelTypes(args),
      capabilities,
      clock,
      log,
    },
    io.interrupted,
  );
}

/** Options that go with an engine of either kind, and those that go with `--openai` alone and have no default. */
const ENGINE_OPTIONS: readonly string[] = ['model', 'embeddings'];
const OPENAI_OPTIONS: readonly string[] = [
  'openai-key-file',
  'openai-tls-ca',
  'openai-tls-cert',
  'openai-tls-key',
  'openai-idle-timeout',
  'probe-path',
  'type',
];

/** Reads which models are for embeddings, and which for chats. Throws `usage` for another type, or two of one model. */
function modelTypes(args: Arguments): Pick<OpenaiBackendOptions, 'embeddings' | 'chats'> {
  const embeddings = args.texts('embeddings');
  const named: Record<'embed' | 'chat', string[]> = { embed: embeddings.filter((name) => name !== ''), chat: [] };
  for (const argument of args.texts('type')) {
    // Names can hold a "=", types can't.
    const at = argument.lastIndexOf('=');
    const [name, type] = [argument.slice(0, Math.max(0, at)), argument.slice(at + 1)];
    if (name === '' || (type !== 'embed' && type !== 'chat')) {
      throw new AnyserveError('usage', `--type ${JSON.stringify(argument)}: give NAME=embed or NAME=chat`);
    }
    named[type].push(name);
  }
  const twice = named.chat.find((name) => named.embed.includes(name));
  if (twice !== undefined) {
    throw new AnyserveError('usage', `model ${JSON.stringify(twice)} is given as one for chat and one for embeddings`);
  }
  return { embeddings: embeddings.includes('') ? 'all' : named.embed, chats: named.chat };
}

/** Returns the key for the server, from a file that is read again when it changes; never from an argument, which others see. */
async function openaiKey(args: Arguments, { env }: CommandIo, log: Log): Promise<string | (() => string) | undefined> {
  const { parseOpenaiKey } = await import('../worker/openai-access.js');
  const path = args.text('openai-key-file');
  if (path === undefined) return env['ANYSERVE_OPENAI_KEY'] || env['OPENAI_API_KEY'] || undefined;
  const parse = ([text = '']: readonly string[]): string => parseOpenaiKey(text, `--openai-key-file ${path}`);
  return createReloadingGetter([{ option: 'openai-key-file', path, isSecret: true }], { parse }, { clock, log });
}
