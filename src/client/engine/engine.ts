import { AnyserveError } from '../../core/errors.js';
import { quote } from '../../core/quoting.js';
import { EngineConnection, type EngineConnectionOptions, type EngineDocument } from './engine-connection.js';
import { detectEngine, type EngineFacts, type KnownEngine, queryEngineFacts, queryOnlyModel } from './engine-facts.js';
import type { EngineSettings } from './engine-settings.js';
import { parseModelList } from './openai-models.js';

/** Options of an {@link Engine}. */
export interface EngineOptions extends EngineConnectionOptions, Pick<EngineSettings, 'probePath'> {}

/** An OpenAI-compatible server: its models and its health. No request generates a token. */
export class Engine {
  readonly connection: EngineConnection;
  readonly #probePath: string | undefined;
  readonly #types = new Map<string, string | undefined>();
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
    if (status !== 200) throw this.connection.failures.createStatusError(status, text, headers);
    const models = this.connection.failures.addUrlToErrors(() => parseModelList(this.connection.parseDocument(text)));
    if (!models) throw this.connection.failures.createIncompatibleError('its list of models is not a list');
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
  async #requestList(signal: AbortSignal): Promise<EngineDocument> {
    try {
      return await this.connection.get(`${this.url}/models`, true, signal);
    } catch (error) {
      this.#withoutList = 'not queried';
      throw error;
    }
  }

  /** Queries the types of models that have not been queried yet. */
  async #queryFacts(untyped: readonly string[], signal: AbortSignal): Promise<Partial<EngineFacts>> {
    const facts = await queryEngineFacts(this.#engine, untyped, this.connection.createEngineQueries(signal));
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
        : await queryOnlyModel(this.connection.createEngineQueries(signal));
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
