import { createEscapingLog } from './core/control-characters.js';
import { DEFAULTS } from './core/defaults.js';
import { checkOptionTypes, type OptionTypes } from './core/option-types.js';
import { checkCounts, checkTimes } from './core/options.js';
import type { Log } from './core/ports.js';
import { createCapability, type ScalarPairs } from './json/capability-json.js';
import * as system from './system.js';
import type { Backend } from './worker/backend.js';
import type { LlamaBackendOptions } from './worker/llama-backend.js';
import type { OpenaiSettings } from './worker/openai-settings.js';

type Partialized<T> = { readonly [K in keyof T]?: T[K] | undefined };

const SILENT: Log = { info: () => {}, warn: () => {} };

/** Options of a backend for an OpenAI-compatible server. All but `url` are optional. */
export type OpenaiBackendSettings = Pick<OpenaiSettings, 'url'> &
  Partialized<Omit<OpenaiSettings, 'url'>> & {
    /** Pairs to add to the capability of each model, in addition to its type and name. */
    readonly capabilities?: readonly ScalarPairs[] | undefined;
    /** Stops waiting for a server that does not respond yet. */
    readonly signal?: AbortSignal | undefined;
  };

const OPENAI_OPTION_TYPES: OptionTypes<OpenaiBackendSettings> = {
  url: 'string',
  key: 'secret',
  timeoutMs: 'number',
  idleTimeoutMs: 'number',
  tls: 'tls',
  probePath: 'string',
  models: 'strings',
  embeddingModels: 'strings or all',
  chatModels: 'strings',
  capabilities: 'objects',
  log: 'log',
  signal: 'signal',
};

/** Creates a backend for an OpenAI-compatible server. Resolves when the server responds. */
export async function connectOpenaiBackend(settings: OpenaiBackendSettings): Promise<Backend> {
  checkOptionTypes('connectOpenaiBackend', settings, OPENAI_OPTION_TYPES, ['url']);
  const {
    url,
    key,
    timeoutMs = DEFAULTS.upstreamTimeoutMs,
    idleTimeoutMs = Math.min(DEFAULTS.upstreamIdleTimeoutMs, timeoutMs),
    tls,
    probePath,
    models = [],
    embeddingModels = [],
    chatModels = [],
    capabilities = [],
    log = SILENT,
    signal = new AbortController().signal,
  } = settings;
  checkTimes({ timeoutMs, idleTimeoutMs }, 1);
  const [{ createOpenaiBackend }, { resolveUpstreamProxy }] = await Promise.all([
    import('./worker/openai-backend.js'),
    import('./client/engine/upstream-proxy.js'),
  ]);
  const options = {
    url,
    key,
    timeoutMs,
    idleTimeoutMs,
    tls,
    proxy: await resolveUpstreamProxy(url, system.getEnvironment()),
    probePath,
    models,
    embeddingModels,
    chatModels,
    capabilities: capabilities.map(createCapability),
    log: createEscapingLog(log),
    clock: system.clock,
  };
  return createOpenaiBackend(options, signal);
}

/** Options of a backend for a GGUF model in this process. All but `path` are optional. */
export type LlamaBackendSettings = Pick<LlamaBackendOptions, 'path'> &
  Partialized<Omit<LlamaBackendOptions, 'path' | 'capabilities' | 'clock' | 'random'>> & {
    /** Pairs to add to the capability of the model, in addition to its type and name. */
    readonly capabilities?: readonly ScalarPairs[] | undefined;
  };

const LLAMA_OPTION_TYPES: OptionTypes<LlamaBackendSettings> = {
  path: 'string',
  name: 'string',
  embeddings: 'flag',
  threads: 'number',
  contextSize: 'number',
  sequences: 'number',
  capabilities: 'objects',
  log: 'log',
};

/** Creates a backend that runs a GGUF model with llama.cpp. Requires the package node-llama-cpp. */
export async function loadLlamaBackend(settings: LlamaBackendSettings): Promise<Backend> {
  checkOptionTypes('loadLlamaBackend', settings, LLAMA_OPTION_TYPES, ['path']);
  const { embeddings = false, capabilities = [], log = SILENT, ...others } = settings;
  checkCounts({ threads: others.threads, contextSize: others.contextSize, sequences: others.sequences }, 1);
  const { createLlamaBackend } = await import('./worker/llama-backend.js');
  const parsedCapabilities = capabilities.map(createCapability);
  return createLlamaBackend({
    ...others,
    embeddings,
    capabilities: parsedCapabilities,
    log: createEscapingLog(log),
    clock: system.clock,
    random: system.random,
  });
}
