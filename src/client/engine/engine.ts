import { AnyserveError } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import { EngineConnection, type EngineConnectionOptions, type EngineDocument } from './engine-connection.js';
import { detectEngine, type EngineFacts, type KnownEngine, queryEngineFacts, queryOnlyModel } from './engine-facts.js';
import type { EngineSettings } from './engine-settings.js';
import type { ModelFacts } from './model-facts.js';
import { type ListedModel, parseModelList } from './openai-models.js';

/** Options of an {@link Engine}. */
export interface EngineOptions extends EngineConnectionOptions, Pick<EngineSettings, 'probePath'> {}

/** An OpenAI-compatible server: its models and its health. No request generates a token. */
export class Engine {
  readonly connection: EngineConnection;
  readonly #probePath: string | undefined;
  /** Facts of the listed models. */
  #facts: ReadonlyMap<string, ModelFacts> = new Map();
  /** Facts that were queried, for each listed model. */
  readonly #queriedFacts = new Map<string, ModelFacts>();
  /** Whether to query the facts again: after a failure, another server can respond at the URL. */
  #isStale = false;
  #engine: KnownEngine | undefined;
  /** Whether an engine without a list of models has reported its only model. */
  #withoutList: 'not queried' | 'unknown' | 'one model' = 'not queried';
  /** URL at which the probe path was found. */
  #probeUrl: string | undefined;

  /** Throws `usage` for a URL, a key or a probe path that can't be used. */
  constructor(options: EngineOptions) {
    this.#probePath = options.probePath;
    if (this.#probePath !== undefined) checkProbePath(this.#probePath);
    this.connection = new EngineConnection(options);
  }

  /** Base URL, as shown in messages. */
  get url(): string {
    return this.connection.url;
  }

  /** Whether the server's health is checked. */
  get isProbed(): boolean {
    return this.#probePath !== 'none';
  }

  /** Whether a separate path is probed instead of the list of models. */
  get hasProbePath(): boolean {
    return this.#probePath !== undefined && this.#probePath !== '/models';
  }

  /** Returns what the server says about a listed model. Ollama lists `llama3:latest` for a model that callers can name `llama3`. */
  getFacts(model: string): ModelFacts {
    return this.#facts.get(model) ?? this.#facts.get(`${model}:latest`) ?? {};
  }

  /** Returns the names of the server's models, or undefined if it has no list. */
  async listModels(signal: AbortSignal): Promise<string[] | undefined> {
    const { status, headers, text } = await this.#requestList(signal);
    if (status === 404 || status === 405 || status === 501) {
      const onlyModel = await this.#queryOnlyModel(signal);
      return onlyModel === undefined ? undefined : [onlyModel];
    }
    this.#withoutList = 'not queried';
    if (status !== 200) throw this.connection.failures.createStatusError(status, text, headers);
    const models = this.connection.failures.addUrlToErrors(() => parseModelList(this.connection.parseDocument(text)));
    if (!models) throw this.connection.failures.createIncompatibleError('its list of models is not a list');
    this.#engine ??= detectEngine(models, headers);
    await this.#queryNewModels(models, signal);
    this.#facts = new Map(models.map(({ name, facts }) => [name, { ...this.#queriedFacts.get(name), ...facts }]));
    return models.map(({ name }) => name);
  }

  /** Queries facts of the models that have not been queried yet. */
  async #queryNewModels(models: readonly ListedModel[], signal: AbortSignal): Promise<void> {
    const names = new Set(models.map(({ name }) => name));
    // The names of an engine can change with each list.
    for (const listedName of this.#queriedFacts.keys())
      if (!names.has(listedName)) this.#queriedFacts.delete(listedName);
    const unknown = models.filter(({ name }) => this.#isStale || !this.#queriedFacts.has(name));
    this.#isStale = false;
    if (unknown.length === 0) return;
    const { models: found, common } = await this.#queryFacts(
      unknown.map(({ name }) => name),
      signal,
    );
    for (const { name } of unknown) {
      this.#queriedFacts.set(name, { ...this.#queriedFacts.get(name), ...common, ...found.get(name) });
    }
  }

  /** Requests the list of models. */
  async #requestList(signal: AbortSignal): Promise<EngineDocument> {
    try {
      return await this.connection.get(`${this.url}/models`, true, signal);
    } catch (error) {
      this.#withoutList = 'not queried';
      this.#isStale = true;
      throw error;
    }
  }

  async #queryFacts(names: readonly string[], signal: AbortSignal): Promise<EngineFacts> {
    const facts = await queryEngineFacts(this.#engine, names, this.connection.createEngineQueries(signal));
    this.#engine ??= facts.engine;
    return facts;
  }

  /** Returns the only model of an engine without a list. An engine that doesn't report one is not queried again. */
  async #queryOnlyModel(signal: AbortSignal): Promise<string | undefined> {
    if (this.#withoutList === 'unknown') return undefined;
    const { onlyModel, common = {} } =
      this.#withoutList === 'not queried'
        ? await this.#queryFacts([], signal)
        : await queryOnlyModel(this.connection.createEngineQueries(signal));
    if (onlyModel !== undefined) this.#facts = new Map([[onlyModel, common]]);
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
    const { status, headers, text } = await this.connection.get(`${this.connection.root}/health`, false, signal);
    if (status >= 500) throw this.connection.failures.createStatusError(status, text, headers);
  }

  /** Probes a path below the base URL, or next to its `/v1` if it doesn't exist there. */
  async #requestProbePath(path: string, signal: AbortSignal): Promise<void> {
    const urls =
      this.#probeUrl === undefined ? [`${this.url}${path}`, `${this.connection.root}${path}`] : [this.#probeUrl];
    for (const url of urls) {
      const { status, headers, text } = await this.connection.get(url, true, signal);
      if (status === 404 && url !== urls.at(-1)) continue;
      if (status < 200 || status > 299) throw this.connection.failures.createStatusError(status, text, headers, url);
      this.#probeUrl = url;
      return;
    }
  }

  /** Closes all connections. */
  close(): void {
    this.connection.close();
  }
}

function checkProbePath(path: string): void {
  if (path === 'none' || /^\/[\x21-\x7e]*$/.test(path)) return;
  throw new AnyserveError(
    'usage',
    `--probe-path ${quote(path)} is not a path; it must begin with "/", such as /models or /health, or be none`,
  );
}
