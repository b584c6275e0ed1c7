import { ByteCollector, decodeUtf8 } from '../core/byte-collector.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import { type UntrustedJson, UpstreamError } from '../inference/openai-errors.js';
import type { Json, JsonObject } from '../json/exact-json.js';
import { detectEngine, type KnownEngine, queryEngineFacts } from './openai-engine.js';
import { type ListedModel, parseModelList } from './openai-models.js';
import type { OpenaiSettings } from './openai-settings.js';
import { readStreamedDocuments } from './openai-stream.js';
import { OpenaiTransport, type OpenaiTransportOptions } from './openai-transport.js';

/** How to reach an OpenAI-compatible server, and how to see whether it is well. */
export interface OpenaiServerOptions extends OpenaiTransportOptions, Pick<OpenaiSettings, 'probePath'> {}

/** Maximum bytes of an answer that is one text. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** Fields that we add to requests, and that servers can refuse: they are left out on a second try, and remembered. */
const OPTIONAL_FIELDS = ['stream_options', 'encoding_format'];

/** An OpenAI-compatible server: its models, its health, and its answers, whole or in parts. */
export class OpenaiServer {
  readonly #transport: OpenaiTransport;
  readonly #probePath: string | undefined;
  /** The fields that each model's server has refused. */
  readonly #refusedFields = new Map<Json | undefined, ReadonlySet<string>>();
  /** The models for which the server has taken all fields. */
  readonly #modelsWithAllFields = new Set<Json | undefined>();
  readonly #types = new Map<string, string | undefined>();
  #engine: KnownEngine | undefined;
  /** Where the probe path was found, once it was. */
  #probeUrl: string | undefined;

  /** Throws `usage` for a URL, a key or a probe path that can't be used. */
  constructor(options: OpenaiServerOptions) {
    this.#probePath = options.probePath;
    if (this.#probePath !== undefined) checkProbePath(this.#probePath);
    this.#transport = new OpenaiTransport(options);
  }

  /** The base URL, as messages show it. */
  get url(): string {
    return this.#transport.url;
  }

  /** Whether the server is to be asked how it is. */
  get isProbed(): boolean {
    return this.#probePath !== 'none';
  }

  /** Whether a path of its own tells whether the server is well, and not the list of models. */
  get hasProbePath(): boolean {
    return this.#probePath !== undefined && this.#probePath !== '/models';
  }

  /** Whether an answer to a call has arrived, or a byte of one, since this time. */
  hasAnsweredSince(timeMs: number): boolean {
    return this.#transport.hasAnsweredSince(timeMs);
  }

  /** Returns the type of a listed model, where the server says it: `chat`, `embed`, or another word. */
  typeOf(model: string): string | undefined {
    return this.#types.get(model);
  }

  /** Returns the names of the models on offer; undefined when the server has no such list. */
  async models(signal: AbortSignal): Promise<string[] | undefined> {
    const { status, headers, text } = await this.#transport.get(`${this.url}/models`, true, signal);
    if (status === 404 || status === 405 || status === 501) {
      const { only } = await this.#learn([], signal);
      return only === undefined ? undefined : [only];
    }
    if (status !== 200) throw this.#transport.failures.refusal(status, text, headers);
    const models = this.read(() => parseModelList(this.#transport.parsed(text)));
    if (!models) throw this.stranger('its list of models is none');
    this.#engine ??= detectEngine(models, headers);
    const names = new Set(models.map(({ name }) => name));
    // An engine can list other names each time.
    for (const known of this.#types.keys()) if (!names.has(known)) this.#types.delete(known);
    for (const { name, type } of models) if (type !== undefined) this.#types.set(name, type);
    await this.#learn(models, signal);
    return models.map(({ name }) => name);
  }

  /** Finds out what the models are for of which that was not asked yet. */
  async #learn(models: readonly ListedModel[], signal: AbortSignal): Promise<{ only?: string | undefined }> {
    const untyped = models.map(({ name }) => name).filter((name) => !this.#types.has(name));
    if (models.length > 0 && untyped.length === 0) return {};
    const facts = await queryEngineFacts(this.#engine, untyped, this.#transport.questions(signal));
    this.#engine ??= facts.engine;
    for (const name of untyped) this.#types.set(name, facts.types.get(name) ?? facts.all);
    if (facts.only !== undefined) this.#types.set(facts.only, facts.all);
    return facts;
  }

  /**
   * Resolves when the server says that it is well, by its probe path, or `/health` of an engine that is known; at once when
   * the list of models is the probe. Rejects with the reason.
   */
  async probe(signal: AbortSignal): Promise<void> {
    if (!this.isProbed) return;
    if (this.hasProbePath) return this.#askProbePath(this.#probePath ?? '', signal);
    if (!this.#engine || this.#probePath !== undefined) return;
    // It needs no key and gets none.
    const { status, headers, text } = await this.#transport.get(`${this.#transport.root}/health`, false, signal);
    if (status >= 500) throw this.#transport.failures.refusal(status, text, headers);
  }

  /** Asks for a path below the base URL, or beside its `/v1` when it is not found there. */
  async #askProbePath(path: string, signal: AbortSignal): Promise<void> {
    const urls =
      this.#probeUrl === undefined ? [`${this.url}${path}`, `${this.#transport.root}${path}`] : [this.#probeUrl];
    for (const url of urls) {
      const { status, headers, text } = await this.#transport.get(url, true, signal);
      if (status === 404 && url !== urls.at(-1)) continue;
      if (status < 200 || status > 299) throw this.#transport.failures.refusal(status, text, headers, url);
      this.#probeUrl = url;
      return;
    }
  }

  /** Asks for one whole answer. Rejects with what the failure means, or with the signal's reason. */
  async post(path: string, body: JsonObject, signal: AbortSignal, maxBytes = MAX_ANSWER_BYTES): Promise<UntrustedJson> {
    return this.#withoutRefusedFields(body, async (sent) => {
      const { answer, chunks } = await this.#transport.open(path, sent, signal);
      const read = new ByteCollector();
      try {
        for await (const chunk of chunks) {
          read.add(chunk);
          if (read.length > maxBytes) throw new AnyserveError('internal', `its answer has over ${maxBytes} bytes`);
        }
      } catch (error) {
        answer.body.destroy();
        throw this.#transport.failures.failure(error, signal, BROKE_OFF);
      }
      return this.#transport.told(decodeUtf8(read.bytes));
    });
  }

  /**
   * Asks for an answer in parts, and yields each as it comes. A server that can't stream gives the whole as one. Rejects as
   * {@link post} does, also when the stream breaks off.
   */
  async *events(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<UntrustedJson> {
    const { first, others } = await this.#withoutRefusedFields(body, async (sent) => {
      const events = this.#eventsOnce(path, sent, signal);
      return { first: await events.next(), others: events };
    });
    try {
      if (first.done) return;
      yield first.value;
      yield* others;
    } finally {
      await others.return(undefined);
    }
  }

  async *#eventsOnce(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<UntrustedJson> {
    const { answer, chunks } = await this.#transport.open(path, body, signal);
    let isDone = false;
    try {
      for await (const { data, isError, isWhole } of readStreamedDocuments(chunks, answer.headers['content-type'])) {
        if (data.trim() === '[DONE]') {
          isDone = true;
          return;
        }
        const event = this.#transport.told(data, isError);
        isDone ||= isWhole || (event.choices?.some?.((choice: UntrustedJson) => choice?.finish_reason) ?? false);
        yield event;
      }
      if (!isDone) throw new Error('its stream ended in the middle');
    } catch (error) {
      throw this.#transport.failures.failure(error, signal, BROKE_OFF);
    } finally {
      // After the last event only the body's end is to come, and then the connection serves the next request.
      if (isDone) answer.body.resume();
      else answer.body.destroy();
    }
  }

  /**
   * Sends a body without the fields of ours that this model's server has refused, and once more without them when it
   * refuses them now: by name, or with an error that can mean them while it has never taken them.
   */
  async #withoutRefusedFields<T>(body: JsonObject, send: (body: JsonObject) => Promise<T>): Promise<T> {
    const model = body.get('model');
    const refused = this.#refusedFields.get(model);
    const sent = new Map([...body].filter(([name]) => !refused?.has(name)));
    const optional = OPTIONAL_FIELDS.filter((name) => sent.has(name));
    try {
      const result = await send(sent);
      if (optional.length > 0) this.#modelsWithAllFields.add(model);
      return result;
    } catch (error) {
      if (!(error instanceof UpstreamError) || optional.length === 0) throw error;
      const isNamed = optional.some((name) => error.body.includes(name));
      const canBeMeant = [400, 422, 501].includes(error.status) && !this.#modelsWithAllFields.has(model);
      if (!isNamed && !canBeMeant) throw error;
      const less = new Map([...sent].filter(([name]) => !optional.includes(name)));
      const result = await send(less).catch((later) => {
        throw isNamed || !(later instanceof UpstreamError) ? later : error;
      });
      this.#refusedFields.set(model, new Set([...(refused ?? []), ...optional]));
      return result;
    }
  }

  /** Runs what reads an answer, and puts the server's URL before what is wrong with it. */
  read<T>(reading: () => T): T {
    try {
      return reading();
    } catch (error) {
      if (error instanceof AnyserveError) throw new AnyserveError(error.code, `${this.url}: ${error.message}`);
      throw this.stranger(getErrorMessage(error), error);
    }
  }

  /** Ends every connection. */
  close(): void {
    this.#transport.close();
  }

  /** Returns the failure of an answer that no OpenAI-compatible server gives. */
  stranger(what: string, cause?: unknown): AnyserveError {
    return this.#transport.failures.stranger(what, cause);
  }
}

const BROKE_OFF = 'broke off in the middle of its answer';

function checkProbePath(path: string): void {
  if (path === 'none' || /^\/[\x21-\x7e]*$/.test(path)) return;
  throw new AnyserveError(
    'usage',
    `--probe-path ${quote(path)} is not a path; give one that begins with "/", such as /models or /health, or none`,
  );
}
