import { ByteCollector, decodeUtf8 } from '../core/byte-collector.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { quote } from '../core/quoting.js';
import type { UntrustedJson } from '../inference/openai-errors.js';
import type { JsonObject } from '../json/json-value.js';
import { detectEngine, type EngineFacts, type KnownEngine, queryEngineFacts, queryOnlyModel } from './openai-engine.js';
import { parseModelList } from './openai-models.js';
import type { OpenaiSettings } from './openai-settings.js';
import { readStreamedDocuments } from './openai-stream.js';
import { type OpenaiResponse, OpenaiTransport, type OpenaiTransportOptions } from './openai-transport.js';
import { OptionalFields } from './optional-fields.js';

/** Options of an {@link OpenaiServer}. */
export interface OpenaiServerOptions extends OpenaiTransportOptions, Pick<OpenaiSettings, 'probePath'> {}

/** Maximum size of a response with a single text, in bytes. */
const MAX_RESPONSE_BYTES = 16 * 1024 * 1024;

/** An OpenAI-compatible server: its models, its health, and its responses, unary or streaming. */
export class OpenaiServer {
  readonly #transport: OpenaiTransport;
  readonly #probePath: string | undefined;
  readonly #optionalFields = new OptionalFields();
  readonly #types = new Map<string, string | undefined>();
  #engine: KnownEngine | undefined;
  /** Whether an engine without a list of models has reported its only model. */
  #withoutList: 'not queried' | 'unknown' | 'one model' = 'not queried';
  /** URL at which the probe path was found. */
  #probeUrl: string | undefined;

  /** Throws `usage` for a URL, a key or a probe path that can't be used. */
  constructor(options: OpenaiServerOptions) {
    this.#probePath = options.probePath;
    if (this.#probePath !== undefined) checkProbePath(this.#probePath);
    this.#transport = new OpenaiTransport(options);
  }

  /** Base URL, as shown in messages. */
  get url(): string {
    return this.#transport.url;
  }

  /** Whether the server's health is checked. */
  get isProbed(): boolean {
    return this.#probePath !== 'none';
  }

  /** Whether a separate path is probed instead of the list of models. */
  get hasProbePath(): boolean {
    return this.#probePath !== undefined && this.#probePath !== '/models';
  }

  /** Returns whether any byte of a response to a call has arrived since this time. */
  hasRespondedSince(timeMs: number): boolean {
    return this.#transport.hasRespondedSince(timeMs);
  }

  /** Returns the type of a listed model: `chat`, `embed`, or another word. Undefined if the server doesn't report it. */
  getType(model: string): string | undefined {
    return this.#types.get(model);
  }

  /** Returns the names of the server's models, or undefined if it has no list. */
  async listModels(signal: AbortSignal): Promise<string[] | undefined> {
    const { status, headers, text } = await this.#requestList(signal);
    if (status === 404 || status === 405 || status === 501) {
      const onlyModel = await this.#queryOnlyModel(signal);
      return onlyModel === undefined ? undefined : [onlyModel];
    }
    this.#withoutList = 'not queried';
    if (status !== 200) throw this.#transport.failures.createStatusError(status, text, headers);
    const models = this.addUrlToErrors(() => parseModelList(this.#transport.parseDocument(text)));
    if (!models) throw this.createIncompatibleError('its list of models is not a list');
    this.#engine ??= detectEngine(models, headers);
    const names = new Set(models.map(({ name }) => name));
    // The names of an engine can change with each list.
    for (const listedName of this.#types.keys()) if (!names.has(listedName)) this.#types.delete(listedName);
    for (const { name, type } of models) if (type !== undefined) this.#types.set(name, type);
    const untyped = models.map(({ name }) => name).filter((name) => !this.#types.has(name));
    if (untyped.length > 0) await this.#queryFacts(untyped, signal);
    return models.map(({ name }) => name);
  }

  /** Requests the list of models. After a failure, another server can respond at the URL. */
  async #requestList(signal: AbortSignal): Promise<OpenaiResponse> {
    try {
      return await this.#transport.get(`${this.url}/models`, true, signal);
    } catch (error) {
      this.#withoutList = 'not queried';
      throw error;
    }
  }

  /** Queries the types of models that have not been queried yet. */
  async #queryFacts(untyped: readonly string[], signal: AbortSignal): Promise<Partial<EngineFacts>> {
    const facts = await queryEngineFacts(this.#engine, untyped, this.#transport.createEngineQueries(signal));
    this.#engine ??= facts.engine;
    for (const name of untyped) this.#types.set(name, facts.types.get(name) ?? facts.commonType);
    return facts;
  }

  /** Returns the only model of an engine without a list. An engine that doesn't report one is not queried again. */
  async #queryOnlyModel(signal: AbortSignal): Promise<string | undefined> {
    if (this.#withoutList === 'unknown') return undefined;
    const { onlyModel, commonType } =
      this.#withoutList === 'not queried'
        ? await this.#queryFacts([], signal)
        : await queryOnlyModel(this.#transport.createEngineQueries(signal));
    if (onlyModel !== undefined) this.#types.set(onlyModel, commonType);
    if (this.#withoutList === 'not queried') this.#withoutList = onlyModel === undefined ? 'unknown' : 'one model';
    return onlyModel;
  }

  /**
   * Checks the server's probe path, or `/health` of a known engine. Resolves immediately if the list of models is the probe.
   * Rejects with the reason if the server is unhealthy.
   */
  async probe(signal: AbortSignal): Promise<void> {
    if (!this.isProbed) return;
    if (this.hasProbePath) return this.#requestProbePath(this.#probePath ?? '', signal);
    if (!this.#engine || this.#probePath !== undefined) return;
    // Sent without the key, because /health needs none.
    const { status, headers, text } = await this.#transport.get(`${this.#transport.root}/health`, false, signal);
    if (status >= 500) throw this.#transport.failures.createStatusError(status, text, headers);
  }

  /** Probes a path below the base URL, or next to its `/v1` if it doesn't exist there. */
  async #requestProbePath(path: string, signal: AbortSignal): Promise<void> {
    const urls =
      this.#probeUrl === undefined ? [`${this.url}${path}`, `${this.#transport.root}${path}`] : [this.#probeUrl];
    for (const url of urls) {
      const { status, headers, text } = await this.#transport.get(url, true, signal);
      if (status === 404 && url !== urls.at(-1)) continue;
      if (status < 200 || status > 299) throw this.#transport.failures.createStatusError(status, text, headers, url);
      this.#probeUrl = url;
      return;
    }
  }

  /** Sends a request with a unary response. Rejects with an error for callers, or with the signal's reason. */
  async post(
    path: string,
    body: JsonObject,
    signal: AbortSignal,
    maxBytes = MAX_RESPONSE_BYTES,
  ): Promise<UntrustedJson> {
    return this.#optionalFields.sendAccepted(body, async (acceptedBody) => {
      const { response, chunks } = await this.#transport.open(path, acceptedBody, signal);
      const collector = new ByteCollector();
      try {
        for await (const chunk of chunks) {
          collector.add(chunk);
          if (collector.length > maxBytes)
            throw new AnyserveError('internal', `its response has more than ${maxBytes} bytes`);
        }
      } catch (error) {
        response.body.destroy();
        throw this.#transport.failures.toConnectionError(error, signal, CONNECTION_CLOSED);
      }
      return this.#transport.parseResponse(decodeUtf8(collector.bytes));
    });
  }

  /**
   * Sends a request with a streaming response and yields its events. A server that can't stream sends a single event.
   * Rejects as {@link post} does, and if the stream is closed before it is complete.
   */
  async *streamEvents(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<UntrustedJson> {
    const { first, rest } = await this.#optionalFields.sendAccepted(body, async (acceptedBody) => {
      const events = this.#streamOnce(path, acceptedBody, signal);
      return { first: await events.next(), rest: events };
    });
    try {
      if (first.done) return;
      yield first.value;
      yield* rest;
    } finally {
      await rest.return(undefined);
    }
  }

  async *#streamOnce(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<UntrustedJson> {
    const { response, chunks } = await this.#transport.open(path, body, signal);
    let isDone = false;
    try {
      for await (const { data, isError, isCompleteBody } of readStreamedDocuments(
        chunks,
        response.headers['content-type'],
      )) {
        if (data.trim() === '[DONE]') {
          isDone = true;
          return;
        }
        const event = this.#transport.parseResponse(data, isError);
        isDone ||= isCompleteBody || (event.choices?.some?.((choice: UntrustedJson) => choice?.finish_reason) ?? false);
        yield event;
      }
      if (!isDone) throw new Error('its stream ended before the response was complete');
    } catch (error) {
      throw this.#transport.failures.toConnectionError(error, signal, CONNECTION_CLOSED);
    } finally {
      // After the last event, reading the body to its end makes the connection reusable.
      if (isDone) response.body.resume();
      else response.body.destroy();
    }
  }

  /** Runs a function that parses a response, and adds the server's URL to its error. */
  addUrlToErrors<T>(parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      if (error instanceof AnyserveError) throw this.#transport.failures.addUrl(error);
      throw this.createIncompatibleError(getErrorMessage(error), error);
    }
  }

  /** Fetches the engine's metrics. Resolves to undefined if it has none, and rejects if it doesn't respond in time. */
  fetchMetrics(signal: AbortSignal): Promise<string | undefined> {
    return this.#transport.fetchMetrics(signal);
  }

  /** Closes all connections. */
  close(): void {
    this.#transport.close();
  }

  /** Creates the error for a response that no OpenAI-compatible server sends. */
  createIncompatibleError(problem: string, cause?: unknown): AnyserveError {
    return this.#transport.failures.createIncompatibleError(problem, cause);
  }
}

const CONNECTION_CLOSED = 'the connection was closed before the response was complete';

function checkProbePath(path: string): void {
  if (path === 'none' || /^\/[\x21-\x7e]*$/.test(path)) return;
  throw new AnyserveError(
    'usage',
    `--probe-path ${quote(path)} is not a path; it must begin with "/", such as /models or /health, or be none`,
  );
}
