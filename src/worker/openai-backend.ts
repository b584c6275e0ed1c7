import { sleep } from '../client/async-waits.js';
import { HTTP_PROBE_TIMEOUT_MS } from '../client/probe.js';
import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError, type ErrorCode } from '../core/errors.js';
import { quote, quoteList } from '../core/quoting.js';
import type { Backend, Model } from './backend.js';
import { EngineModels, listEngineCapabilities } from './engine-models.js';
import { createOpenaiChat } from './openai-chat.js';
import { createOpenaiEmbedding } from './openai-embedding.js';
import { OpenaiServer, type OpenaiServerOptions } from './openai-server.js';
import type { OpenaiSettings } from './openai-settings.js';

/** What an OpenAI-compatible server is to be asked for. */
export interface OpenaiBackendOptions extends OpenaiServerOptions, OpenaiSettings {
  /** Offered for each model in addition to its type and name. */
  readonly capabilities: readonly Capability[];
}

/** How long to wait before a server that does not answer yet is asked again. */
const RETRY_MS = 1000;

/**
 * The models of an OpenAI-compatible server, each as a model of this worker. Waits until the server answers, because
 * an engine takes its time to load; rejects when it answers that it is not what we take it for.
 */
export async function createOpenaiBackend(options: OpenaiBackendOptions, signal: AbortSignal): Promise<Backend> {
  const server = new OpenaiServer(options);
  try {
    const listed = await firstList(server, options, signal);
    const offered = offeredModels(server, options, listed);
    if (offered.length === 0) throw nothingOffered(server);
    const followed = new EngineModels(listed, modelsOf(server, options, offered));
    return {
      get models() {
        return followed.models;
      },
      watchModels: (listener) => followed.watch(listener),
      maxConcurrency: DEFAULTS.engineMaxConcurrency,
      checkLimitMs: HTTP_PROBE_TIMEOUT_MS + 1000,
      check: (looking) =>
        look(server, options, looking, async (signal) => {
          const there = await server.models(signal);
          if (!there) return;
          followed.update(there, () => {
            const offered = offeredModels(server, options, there).filter(({ name }) => isListed(name, there));
            return modelsOf(server, options, offered);
          });
          if (followed.models.length > 0) return;
          throw new AnyserveError('unavailable', `${server.url} no longer offers any model`);
        }),
      close: async () => server.close(),
    };
  } catch (error) {
    server.close();
    throw error;
  }
}

/**
 * Looks whether the server is well: by its probe, and by `lookAtModels`, which asks for the list of models. A server that
 * answered a call meanwhile is busy and not unwell, when it is slow to answer the look.
 */
async function look(
  server: OpenaiServer,
  { clock }: OpenaiBackendOptions,
  looking: AbortSignal,
  lookAtModels: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  if (!server.isProbed) return;
  const startedAtMs = clock.nowMs();
  const late = new AbortController();
  const tooLate = new AnyserveError(
    'deadline_exceeded',
    `${server.url}: no answer within ${HTTP_PROBE_TIMEOUT_MS / 1000} s`,
  );
  const cancel = clock.schedule(HTTP_PROBE_TIMEOUT_MS, () => late.abort(tooLate));
  const signal = AbortSignal.any([looking, late.signal]);
  try {
    await server.probe(signal);
    // A server that has a path for probes can have a list that is slow, or none.
    await lookAtModels(signal).catch((error) => {
      if (!server.hasProbePath) throw error;
    });
  } catch (error) {
    const isSlow = error instanceof AnyserveError && error.code === 'deadline_exceeded';
    if (!isSlow || !server.hasAnsweredSince(startedAtMs)) throw error;
  } finally {
    cancel();
  }
}

/** Failures that an engine which is still loading shows, and gets over by itself. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'deadline_exceeded', 'internal', 'resource_exhausted']);

/** The models that the server lists, once it answers; none when it has no list. */
async function firstList(server: OpenaiServer, options: OpenaiBackendOptions, signal: AbortSignal): Promise<string[]> {
  let told = '';
  for (;;) {
    try {
      const listed = await server.models(signal);
      await server.probe(signal);
      if (listed?.length !== 0) return checkedList(server, options, listed);
      throw new AnyserveError('unavailable', `${server.url}: it offers no model yet`);
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof AnyserveError) || error.code === 'usage') throw error;
      if (!PASSING.has(error.code)) throw new AnyserveError('failed', error.message, { cause: error });
      if (error.message !== told) options.log.info(`waiting for ${error.message}`);
      told = error.message;
      await sleep(options.clock, RETRY_MS, signal);
    }
  }
}

function checkedList(
  { url }: OpenaiServer,
  { models, embeddings, chats = [] }: OpenaiBackendOptions,
  listed: string[] | undefined,
): string[] {
  if (!listed && models.length === 0) {
    throw new AnyserveError(
      'usage',
      `${url}/models is no list of models; check the URL, or name the models with --model`,
    );
  }
  const wanted = [...models, ...chats, ...(embeddings === 'all' ? [] : embeddings)];
  const missing = listed && wanted.find((name) => !isListed(name, listed));
  if (missing === undefined) return listed ?? [];
  const there = quoteList(listed ?? []);
  throw new AnyserveError('usage', `${url} offers no model ${quote(missing)}; it offers ${there}`);
}

/** The models to offer: those named, if any are, else those listed. */
function offeredNames(
  { models, embeddings, chats = [] }: OpenaiBackendOptions,
  listed: readonly string[],
): readonly string[] {
  if (models.length === 0) return listed;
  const typed = [...chats, ...(embeddings === 'all' ? [] : embeddings)];
  return [...models, ...typed.filter((name) => !isListed(name, models))];
}

interface OfferedModel {
  readonly name: string;
  readonly type: 'chat' | 'embed';
}

/** The models to offer, each with what it is for: what the user says, else what the server says, else `chat`. */
function offeredModels(
  server: OpenaiServer,
  options: OpenaiBackendOptions,
  listed: readonly string[],
): readonly OfferedModel[] {
  const { embeddings, chats = [], models, log } = options;
  const offered: OfferedModel[] = [];
  for (const name of offeredNames(options, listed)) {
    const isMeant = (given: readonly string[]): boolean => given.some((one) => isListed(one, [name]));
    const said = server.typeOf(name) ?? server.typeOf(`${name}:latest`);
    if (isMeant(chats)) offered.push({ name, type: 'chat' });
    else if (embeddings === 'all' || isMeant(embeddings) || said === 'embed') offered.push({ name, type: 'embed' });
    else if (said === undefined || said === 'chat' || models.includes(name)) offered.push({ name, type: 'chat' });
    else {
      const shown = quote(name);
      log.info(
        `left out: ${shown}, which is for ${said} by its server's word; --type ${name}=chat offers it as a chat`,
      );
    }
  }
  return offered;
}

function nothingOffered({ url }: OpenaiServer): AnyserveError {
  return new AnyserveError('usage', `${url} offers no model for chat or embeddings; name one with --type NAME=chat`);
}

/** The models of this worker for those of the server. */
function modelsOf(
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

/** Whether a model is on offer by this name; Ollama's list has `llama3:latest` for what may be called `llama3`. */
function isListed(name: string, listed: readonly string[]): boolean {
  return listed.includes(name) || listed.includes(`${name}:latest`);
}
