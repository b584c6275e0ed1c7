import { sleep } from '../client/sleep.js';
import type { Capability } from '../core/capability.js';
import { AnyserveError, type ErrorCode } from '../core/errors.js';
import type { Clock, Log } from '../core/ports.js';
import { quoted, quotedList } from '../core/quoted.js';
import type { Tensors } from '../wire/inference.js';
import { type Json, JsonSyntaxError, parseJson } from '../wire/json.js';
import { jsonFromParameter, type Parameters } from '../wire/parameters.js';
import { Answer, type Backend, type Given, type InferenceContext, type Model } from './backend.js';
import { EMBEDDING_INPUTS, EMBEDDING_OUTPUTS, textsToEmbed } from './embedding.js';
import { offeredCapabilities } from './offered-capabilities.js';
import type { Loose } from './openai-errors.js';
import { endParameters, outputsFrom, wholeCharacters } from './openai-message.js';
import { OpenaiServer, type OpenaiServerOptions } from './openai-server.js';
import { requestedMessages, TEXT_INPUTS, TEXT_OUTPUTS } from './text-generation.js';

/** What an OpenAI-compatible server is to be asked for. */
export interface OpenaiBackendOptions extends OpenaiServerOptions {
  /** The models to offer, beside those named for embeddings; all that the server lists unless told. */
  readonly models: readonly string[];
  /** Those of them that turn texts into vectors and do not chat, or all. */
  readonly embeddings: readonly string[] | 'all';
  /** What to offer of each beside its type and name. */
  readonly capabilities: readonly Capability[];
  readonly log: Log;
  readonly clock: Clock;
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
    const names = offeredNames(options, listed);
    const first = { chat: true, embed: true };
    const models = names.map((name): Model => {
      const type = isForEmbeddings(name, options) ? 'embed' : 'chat';
      const preferred = first[type];
      first[type] = false;
      return {
        name,
        versions: [],
        platform: 'openai',
        capabilities: offeredCapabilities(type, name, options.capabilities, names),
        preferred,
        ...(type === 'chat' ? chat(server, name) : embedding(server, name)),
      };
    });
    return {
      models,
      async check(looking) {
        await server.checkHealth(looking);
        const there = await server.models(looking);
        const missing = there && names.find((name) => !isListed(name, there));
        if (missing === undefined) return;
        throw new AnyserveError('unavailable', `${server.url} no longer offers ${quoted(missing)}`);
      },
      close: async () => server.close(),
    };
  } catch (error) {
    server.close();
    throw error;
  }
}

/** Failures that an engine which is still loading shows, and gets over by itself. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['unavailable', 'deadline_exceeded', 'internal', 'resource_exhausted']);

/** The models that the server lists, once it answers; none when it has no list. */
async function firstList(server: OpenaiServer, options: OpenaiBackendOptions, signal: AbortSignal): Promise<string[]> {
  let told = '';
  for (;;) {
    try {
      await server.checkHealth(signal);
      const listed = await server.models(signal);
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
  { models, embeddings }: OpenaiBackendOptions,
  listed: string[] | undefined,
): string[] {
  if (!listed && models.length === 0) {
    throw new AnyserveError(
      'usage',
      `${url}/models is no list of models; check the URL, or name the models with --model`,
    );
  }
  const wanted = [...models, ...(embeddings === 'all' ? [] : embeddings)];
  const missing = listed && wanted.find((name) => !isListed(name, listed));
  if (missing === undefined) return listed ?? [];
  const there = quotedList(listed ?? []);
  throw new AnyserveError('usage', `${url} offers no model ${quoted(missing)}; it offers ${there}`);
}

/** The models to offer: those named, if any are, else those listed. */
function offeredNames({ models, embeddings }: OpenaiBackendOptions, listed: readonly string[]): readonly string[] {
  if (models.length === 0) return listed;
  const others = embeddings === 'all' ? [] : embeddings.filter((name) => !isListed(name, models));
  return [...models, ...others];
}

function isForEmbeddings(model: string, { embeddings }: OpenaiBackendOptions): boolean {
  return embeddings === 'all' || embeddings.some((name) => isListed(name, [model]));
}

/** Whether a model is on offer by this name; Ollama's list has `llama3:latest` for what may be called `llama3`. */
function isListed(name: string, listed: readonly string[]): boolean {
  return listed.includes(name) || listed.includes(`${name}:latest`);
}

type Role = Pick<Model, 'inputs' | 'outputs' | 'handle'>;

function chat(server: OpenaiServer, model: string): Role {
  return {
    inputs: TEXT_INPUTS,
    outputs: [...TEXT_OUTPUTS, { name: 'reasoning', datatype: 'BYTES', shape: [1], optional: true }],
    handle: (inputs, context) => generate(server, model, inputs, context),
  };
}

function embedding(server: OpenaiServer, model: string): Role {
  return {
    inputs: EMBEDDING_INPUTS,
    outputs: EMBEDDING_OUTPUTS,
    handle: (inputs, context) => embed(server, model, inputs, context),
  };
}

/** A chat completion, in parts for a caller that takes parts. */
async function* generate(
  server: OpenaiServer,
  model: string,
  inputs: Tensors,
  { parameters, streaming, signal }: InferenceContext,
): AsyncGenerator<Given> {
  const path = '/chat/completions';
  const body = requestBody(model, parameters).set('messages', [...requestedMessages(inputs)]);
  if (!streaming) {
    const { choices, usage } = await server.post(path, body, signal);
    const choice = choices?.[0];
    if (!choice?.message) throw server.stranger('its answer has no message');
    yield new Answer(outputsFrom(choice.message, String), endParameters(choice.finish_reason, usage));
    return;
  }
  body.set('stream', true).set('stream_options', new Map([['include_usage', true]]));
  const whole = wholeCharacters();
  let hasChoice = false;
  let finishReason: unknown;
  let usage: Loose;
  for await (const event of server.events(path, body, signal)) {
    const choice = event.choices?.[0];
    hasChoice ||= choice !== undefined;
    usage = event.usage ?? usage;
    finishReason = choice?.finish_reason ?? finishReason;
    // A server that knows no parts answers with a whole message.
    const outputs = outputsFrom(choice?.delta ?? choice?.message ?? {}, whole);
    if (Object.values(outputs).some(([piece]) => piece !== '')) yield outputs;
  }
  if (!hasChoice) throw server.stranger('its answer has no message');
  yield new Answer({ text: [''] }, endParameters(finishReason, usage));
}

/** One vector a text. */
async function embed(
  server: OpenaiServer,
  model: string,
  inputs: Tensors,
  { parameters, signal }: InferenceContext,
): Promise<Given> {
  const texts = textsToEmbed(inputs);
  const body = requestBody(model, parameters).set('input', texts).set('encoding_format', 'float');
  const { data, usage } = await server.post('/embeddings', body, signal);
  const length = data?.[0]?.embedding?.length;
  const isWhole =
    data?.length === texts.length &&
    data.every(({ embedding: vector }: Loose) => Array.isArray(vector) && vector.length === length);
  if (!isWhole) throw server.stranger(`its answer has no vector for each of ${texts.length} texts`);
  const vectors = new Float32Array(texts.length * length);
  for (const [at, { embedding: vector }] of inOrder(data).entries()) vectors.set(vector, at * length);
  const tensor = { datatype: 'FP32', shape: [texts.length, length], data: vectors } as const;
  return new Answer({ embedding: tensor }, endParameters(undefined, usage));
}

/** Vectors in the order of their texts: by index, where the indices are those of the texts, else as they come. */
function inOrder(data: readonly Loose[]): readonly Loose[] {
  const byIndex = data.toSorted((one, other) => one.index - other.index);
  return byIndex.every(({ index }, at) => index === at) ? byIndex : data;
}

/** What of a request's body is the worker's to say. */
const OURS: ReadonlySet<string> = new Set([
  'model',
  'messages',
  'prompt',
  'input',
  'stream',
  'stream_options',
  'n',
  'encoding_format',
]);

/**
 * A request's body but for what it asks. Parameters are passed on whatever they are, since engines have many of their
 * own; a text that is a JSON array or object is passed on as that (`stop`, `response_format`).
 */
function requestBody(model: string, parameters: Parameters): Map<string, Json> {
  const body = new Map<string, Json>([['model', model]]);
  for (const [name, value] of Object.entries(parameters)) {
    // What Triton's clients tell the server and not the model.
    if (name.startsWith('triton_')) continue;
    if (OURS.has(name))
      throw new AnyserveError('invalid_argument', `parameter ${quoted(name)} is not for callers to give`);
    const json = jsonFromParameter(value);
    body.set(name, (typeof json === 'string' && structured(json)) || json);
  }
  return body;
}

/** The array or object that a text is; undefined when it is a text. */
function structured(text: string): Json | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return parseJson(text);
  } catch (error) {
    if (error instanceof JsonSyntaxError) return undefined;
    throw error;
  }
}
