import { sleep } from '../client/async-waits.js';
import { Engine } from '../client/engine/engine.js';
import { createModelPairs, listEngineCapabilities } from '../client/engine/engine-capabilities.js';
import { checkEngine, ENGINE_CHECK_TIMEOUT_MS, toPermanentError } from '../client/engine/engine-check.js';
import { EngineLoad } from '../client/engine/engine-load.js';
import type { ModelFacts } from '../client/engine/model-facts.js';
import type { UpstreamProxy } from '../client/engine/upstream-proxy.js';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import type { Clock } from '../core/ports.js';
import { quote, quoteList } from '../core/quoting.js';
import { OPENAI_PLATFORM } from '../inference/text-contract.js';
import type { Backend, Model } from './backend.js';
import { EngineModels } from './engine-models.js';
import { createOpenaiChat } from './openai-chat.js';
import { createOpenaiEmbedding } from './openai-embedding.js';
import { OpenaiServer } from './openai-server.js';
import type { OpenaiSettings } from './openai-settings.js';

/** Options of a backend for an OpenAI-compatible server. */
export interface OpenaiBackendOptions extends OpenaiSettings {
  /** Forward proxy. Default: direct connections. */
  readonly proxy?: UpstreamProxy | undefined;
  readonly clock: Clock;
  /** Capabilities to register for each model in addition to its type and name. */
  readonly capabilities: readonly Capability[];
}

/** Delay before the next attempt to reach a server that is not ready yet, in ms. */
const ENGINE_RETRY_DELAY_MS = 1000;

/**
 * Creates a backend with the models of an OpenAI-compatible server. Waits until the server responds, because an engine
 * takes time to load. Rejects if the response shows that it is not an OpenAI-compatible server.
 */
export async function createOpenaiBackend(options: OpenaiBackendOptions, signal: AbortSignal): Promise<Backend> {
  const engine = new Engine(options);
  try {
    const listed = await waitForModels(engine, options, signal);
    const offered = selectModels(engine, options, listed);
    if (offered.length === 0) throw createNoModelError(engine);
    return createBackend(engine, listed, offered, options);
  } catch (error) {
    engine.close();
    throw error;
  }
}

function createBackend(
  engine: Engine,
  listed: readonly string[],
  offered: readonly OfferedModel[],
  options: OpenaiBackendOptions,
): Backend {
  const server = new OpenaiServer(engine.connection, options);
  const engineModels = new EngineModels(describeListed(engine, listed), createModels(server, options, offered));
  const load = watchEngineLoad(engine, options);
  const refreshModels = async (signal: AbortSignal): Promise<void> => {
    const names = await engine.listModels(signal);
    if (!names) return;
    engineModels.update(describeListed(engine, names), () => {
      const stillOffered = selectModels(engine, options, names).filter(({ name }) => isListed(name, names));
      return createModels(server, options, stillOffered);
    });
  };
  return {
    get models() {
      return engineModels.models;
    },
    watchModels: (listener) => engineModels.watch(listener),
    watchLoad: load.watch,
    maxConcurrency: DEFAULTS.engineMaxConcurrency,
    checkTimeoutMs: ENGINE_CHECK_TIMEOUT_MS,
    check: async (signal) => {
      const hasWorkedSince = (timeMs: number): boolean =>
        server.hasRespondedSince(timeMs) || load.hasWorkedSince(timeMs);
      await checkEngine(engine, { clock: options.clock, refreshModels, hasWorkedSince }, signal);
      if (engineModels.models.length > 0) return;
      throw new AnyserveError('unavailable', `${engine.url} no longer offers any model`);
    },
    close: async () => {
      load.stop();
      engine.close();
    },
  };
}

/** Reads the load of the engine while anything listens. With `--probe-path none`, nothing but calls is sent to the server. */
function watchEngineLoad(engine: Engine, { clock }: OpenaiBackendOptions) {
  let onLoad: (load: ReplicaLoad | undefined) => void = () => {};
  const engineLoad = new EngineLoad({
    clock,
    fetchMetrics: (signal) => engine.connection.fetchMetrics(signal),
    onLoad: (load) => onLoad(load),
  });
  return {
    watch: (listener: typeof onLoad) => {
      onLoad = listener;
      if (engine.isProbed) engineLoad.start();
    },
    hasWorkedSince: (timeMs: number) => engineLoad.hasWorkedSince(timeMs),
    stop: () => engineLoad.stop(),
  };
}

/** Waits for the server and returns the names of its models; empty if it has no list. */
async function waitForModels(engine: Engine, options: OpenaiBackendOptions, signal: AbortSignal): Promise<string[]> {
  let loggedMessage = '';
  for (;;) {
    try {
      const listed = await engine.listModels(signal);
      await engine.probe(signal);
      if (listed?.length !== 0) return checkListedModels(engine, options, listed);
      throw new AnyserveError('unavailable', `${engine.url}: it has no model yet`);
    } catch (error) {
      signal.throwIfAborted();
      const permanent = toPermanentError(error);
      if (permanent !== undefined) throw permanent;
      const message = getErrorMessage(error);
      if (message !== loggedMessage) options.log.info(`waiting for ${message}`, { event: 'waiting', reason: message });
      loggedMessage = message;
      await sleep(options.clock, ENGINE_RETRY_DELAY_MS, signal);
    }
  }
}

function checkListedModels(
  { url }: Engine,
  { models, embeddingModels, chatModels = [] }: OpenaiBackendOptions,
  listed: string[] | undefined,
): string[] {
  if (!listed && models.length === 0) {
    throw new AnyserveError(
      'usage',
      `${url}/models is not a list of models; check the URL, or name the models with --model`,
    );
  }
  const requested = [...models, ...chatModels, ...(embeddingModels === 'all' ? [] : embeddingModels)];
  const missing = listed && requested.find((name) => !isListed(name, listed));
  if (missing === undefined) return listed ?? [];
  const available = quoteList(listed ?? []);
  throw new AnyserveError('usage', `${url} has no model ${quote(missing)}; its models: ${available}`);
}

/** Returns the names of the models to serve: the named ones if there are any, else all listed ones. */
function selectNames(
  { models, embeddingModels, chatModels = [] }: OpenaiBackendOptions,
  listed: readonly string[],
): readonly string[] {
  if (models.length === 0) return listed;
  const typed = [...chatModels, ...(embeddingModels === 'all' ? [] : embeddingModels)];
  return [...models, ...typed.filter((name) => !isListed(name, models))];
}

/** Returns the listed models with what the server says about them, for comparison. */
function describeListed(engine: Engine, names: readonly string[]): string {
  return JSON.stringify(names.map((name) => [name, engine.getFacts(name)]));
}

interface OfferedModel {
  readonly name: string;
  readonly facts: ModelFacts & { readonly type: 'chat' | 'embed' };
}

/** Returns the models to serve, each with its type: the user's, else the server's, else `chat`. */
function selectModels(
  engine: Engine,
  options: OpenaiBackendOptions,
  listed: readonly string[],
): readonly OfferedModel[] {
  const { embeddingModels, chatModels = [], models, log } = options;
  const offered: OfferedModel[] = [];
  for (const name of selectNames(options, listed)) {
    const includesName = (names: readonly string[]): boolean => names.some((other) => isListed(other, [name]));
    const facts = engine.getFacts(name);
    const { type } = facts;
    if (includesName(chatModels)) offered.push({ name, facts: { ...facts, type: 'chat' } });
    else if (embeddingModels === 'all' || includesName(embeddingModels) || type === 'embed')
      offered.push({ name, facts: { ...facts, type: 'embed' } });
    else if (type === undefined || type === 'chat' || models.includes(name))
      offered.push({ name, facts: { ...facts, type: 'chat' } });
    else
      log.info(`skipping model ${quote(name)}: the server says it is for ${type}; to serve it: --type ${name}=chat`, {
        event: 'model_skipped',
        model: name,
        type,
      });
  }
  return offered;
}

function createNoModelError({ url }: Engine): AnyserveError {
  return new AnyserveError('usage', `${url} has no model for chat or embeddings; name one with --type NAME=chat`);
}

/** Creates this worker's models from those of the server. */
function createModels(
  server: OpenaiServer,
  { capabilities }: OpenaiBackendOptions,
  offered: readonly OfferedModel[],
): readonly Model[] {
  const names = offered.map(({ name }) => name);
  const first = { chat: true, embed: true };
  return offered.map(({ name, facts }): Model => {
    const { type } = facts;
    const preferred = first[type];
    first[type] = false;
    return {
      name,
      versions: [],
      platform: OPENAI_PLATFORM,
      capabilities: listEngineCapabilities(createModelPairs(name, facts), capabilities, names),
      preferred,
      ignoresTensorParameters: true,
      ...(type === 'chat' ? createOpenaiChat(server, name) : createOpenaiEmbedding(server, name)),
    };
  });
}

/** Returns whether a list contains a model. Ollama lists `llama3:latest` for a model that callers can name `llama3`. */
function isListed(name: string, listed: readonly string[]): boolean {
  return listed.includes(name) || listed.includes(`${name}:latest`);
}
