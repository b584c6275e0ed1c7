import { sleep } from '../client/async-waits.js';
import { EngineLoad } from '../client/engine/engine-load.js';
import { HTTP_PROBE_TIMEOUT_MS } from '../client/probe.js';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { ReplicaLoad } from '../core/load.js';
import { quote, quoteList } from '../core/quoting.js';
import type { Backend, Model } from './backend.js';
import { EngineModels, listEngineCapabilities } from './engine-models.js';
import { createOpenaiChat } from './openai-chat.js';
import { createOpenaiEmbedding } from './openai-embedding.js';
import { OpenaiServer, type OpenaiServerOptions } from './openai-server.js';
import type { OpenaiSettings } from './openai-settings.js';

/** Options of a backend for an OpenAI-compatible server. */
export interface OpenaiBackendOptions extends OpenaiServerOptions, OpenaiSettings {
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
  const server = new OpenaiServer(options);
  try {
    const listed = await waitForModels(server, options, signal);
    const offered = selectModels(server, options, listed);
    if (offered.length === 0) throw createNoModelError(server);
    const engineModels = new EngineModels(listed, createModels(server, options, offered));
    const load = watchEngineLoad(server, options);
    return {
      get models() {
        return engineModels.models;
      },
      watchModels: (listener) => engineModels.watch(listener),
      watchLoad: load.watch,
      maxConcurrency: DEFAULTS.engineMaxConcurrency,
      checkTimeoutMs: HTTP_PROBE_TIMEOUT_MS + 1000,
      check: async (checkSignal) => {
        await checkServer(server, options, checkSignal, async (signal) => {
          const names = await server.listModels(signal);
          if (!names) return;
          engineModels.update(names, () => {
            const offered = selectModels(server, options, names).filter(({ name }) => isListed(name, names));
            return createModels(server, options, offered);
          });
        });
        if (engineModels.models.length > 0) return;
        throw new AnyserveError('unavailable', `${server.url} no longer offers any model`);
      },
      close: async () => {
        load.stop();
        server.close();
      },
    };
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Reads the load of the engine while anything listens. With `--probe-path none`, nothing but calls is sent to the server. */
function watchEngineLoad(server: OpenaiServer, { clock }: OpenaiBackendOptions) {
  let onLoad: (load: ReplicaLoad | undefined) => void = () => {};
  const engineLoad = new EngineLoad({
    clock,
    fetchMetrics: (signal) => server.fetchMetrics(signal),
    onLoad: (load) => onLoad(load),
  });
  return {
    watch: (listener: typeof onLoad) => {
      onLoad = listener;
      if (server.isProbed) engineLoad.start();
    },
    stop: () => engineLoad.stop(),
  };
}

/**
 * Checks the health of the server with its probe and with `refreshModels`, which fetches the list of models. A server whose
 * check times out counts as busy, not unhealthy, if it responded to a call in the meantime.
 */
async function checkServer(
  server: OpenaiServer,
  { clock }: OpenaiBackendOptions,
  checkSignal: AbortSignal,
  refreshModels: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  if (!server.isProbed) return;
  const startedAtMs = clock.nowMs();
  const timeLimit = new AbortController();
  const timeoutError = new AnyserveError(
    'deadline_exceeded',
    `${server.url}: no response within ${HTTP_PROBE_TIMEOUT_MS / 1000} s`,
  );
  const cancel = clock.schedule(HTTP_PROBE_TIMEOUT_MS, () => timeLimit.abort(timeoutError));
  const signal = AbortSignal.any([checkSignal, timeLimit.signal]);
  try {
    await server.probe(signal);
    // A server with its own probe path can have a slow list of models, or none.
    await refreshModels(signal).catch((error) => {
      if (!server.hasProbePath) throw error;
    });
  } catch (error) {
    const isSlow = error instanceof AnyserveError && error.code === 'deadline_exceeded';
    if (!isSlow || !server.hasRespondedSince(startedAtMs)) throw error;
  } finally {
    cancel();
  }
}

/** Errors of an engine that is still loading. They disappear without intervention. */
const TEMPORARY_ERRORS: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'deadline_exceeded',
  'internal',
  'resource_exhausted',
]);

/** Waits for the server and returns the names of its models; empty if it has no list. */
async function waitForModels(
  server: OpenaiServer,
  options: OpenaiBackendOptions,
  signal: AbortSignal,
): Promise<string[]> {
  let loggedMessage = '';
  for (;;) {
    try {
      const listed = await server.listModels(signal);
      await server.probe(signal);
      if (listed?.length !== 0) return checkListedModels(server, options, listed);
      throw new AnyserveError('unavailable', `${server.url}: it has no model yet`);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof AnyserveError) || error.code === 'usage') throw error;
      if (!TEMPORARY_ERRORS.has(error.code)) throw new AnyserveError('failed', error.message, { cause: error });
      if (error.message !== loggedMessage) options.log.info(`waiting for ${error.message}`);
      loggedMessage = error.message;
      await sleep(options.clock, ENGINE_RETRY_DELAY_MS, signal);
    }
  }
}

function checkListedModels(
  { url }: OpenaiServer,
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

interface OfferedModel {
  readonly name: string;
  readonly type: 'chat' | 'embed';
}

/** Returns the models to serve, each with its type: the user's, else the server's, else `chat`. */
function selectModels(
  server: OpenaiServer,
  options: OpenaiBackendOptions,
  listed: readonly string[],
): readonly OfferedModel[] {
  const { embeddingModels, chatModels = [], models, log } = options;
  const offered: OfferedModel[] = [];
  for (const name of selectNames(options, listed)) {
    const includesName = (names: readonly string[]): boolean => names.some((other) => isListed(other, [name]));
    const type = server.getType(name) ?? server.getType(`${name}:latest`);
    if (includesName(chatModels)) offered.push({ name, type: 'chat' });
    else if (embeddingModels === 'all' || includesName(embeddingModels) || type === 'embed')
      offered.push({ name, type: 'embed' });
    else if (type === undefined || type === 'chat' || models.includes(name)) offered.push({ name, type: 'chat' });
    else log.info(`skipping model ${quote(name)}: the server says it is for ${type}; to serve it: --type ${name}=chat`);
  }
  return offered;
}

function createNoModelError({ url }: OpenaiServer): AnyserveError {
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
  return offered.map(({ name, type }): Model => {
    const preferred = first[type];
    first[type] = false;
    return {
      name,
      versions: [],
      platform: 'openai',
      capabilities: listEngineCapabilities(type, name, capabilities, names),
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
