import { type Capability, getPairValue, type Pairs } from '../../core/capability.js';
import { AnyserveError } from '../../core/errors.js';
import type { ReplicaLoad } from '../../core/load.js';
import type { Clock } from '../../core/ports.js';
import { addLabels } from '../../json/capability-json.js';
import type { JsonObject } from '../../json/json-value.js';
import { Engine, type EngineOptions } from './engine.js';
import { createModelPairs, listEngineCapabilities } from './engine-capabilities.js';
import { checkEngine, toPermanentError } from './engine-check.js';
import { EngineLoad } from './engine-load.js';

/** Options of a {@link RegisteredEngine}. */
export interface RegisteredEngineOptions extends EngineOptions {
  /** Types of models, which take precedence over those that the engine reports. */
  readonly types: ReadonlyMap<string, string>;
  /** Capabilities to add to those of each model. One that names a model applies to that model only. */
  readonly capabilities: readonly Capability[];
  /** Pairs to add to every capability. */
  readonly labels: Pairs;
  readonly clock: Clock;
  /** Called with the capabilities of all models, whenever they have changed. */
  readonly onCapabilities: (capabilities: readonly Capability[]) => void;
  /** Called when the engine can't be registered, and waiting doesn't help: it isn't an OpenAI-compatible server, for example. */
  readonly onPermanentError: (error: unknown) => void;
}

/**
 * An engine whose own endpoint is registered: callers use its HTTP API directly. Follows its models, its health and its load.
 */
export class RegisteredEngine {
  readonly #options: RegisteredEngineOptions;
  readonly #engine: Engine;
  readonly #load: EngineLoad;
  #currentLoad: ReplicaLoad | undefined;
  /** The last capabilities, serialized for comparison. Undefined: the models are not known yet. */
  #serialized: string | undefined;
  #hasModel = false;

  /** Throws `usage` for a URL, a key or a probe path that can't be used. */
  constructor(options: RegisteredEngineOptions) {
    this.#options = options;
    this.#engine = new Engine(options);
    this.#load = new EngineLoad({
      clock: options.clock,
      fetchMetrics: (signal) => this.#engine.connection.fetchMetrics(signal),
      onLoad: (load) => {
        this.#currentLoad = load;
      },
    });
  }

  /** Base URL of the engine. */
  get url(): string {
    return this.#engine.url;
  }

  /** The load that the engine reports. Undefined if it reports none. */
  get load(): ReplicaLoad | undefined {
    return this.#currentLoad;
  }

  /**
   * Checks the health of the engine, and reads its list of models. Rejects with the reason if it isn't healthy, or has no
   * model. With the probe path `none`, reads the list once, and nothing else.
   */
  async check(signal: AbortSignal): Promise<void> {
    if (this.#serialized === undefined) await this.#checkFirst(signal);
    else {
      const refreshModels = (limited: AbortSignal): Promise<void> => this.#readModels(limited);
      const hasWorkedSince = (timeMs: number): boolean => this.#load.hasWorkedSince(timeMs);
      await checkEngine(this.#engine, { clock: this.#options.clock, refreshModels, hasWorkedSince }, signal);
    }
    if (!this.#hasModel) throw new AnyserveError('unavailable', `${this.url}: it has no model`);
    if (this.#engine.isProbed) this.#load.start();
  }

  /** Closes all connections. */
  close(): void {
    this.#load.stop();
    this.#engine.close();
  }

  async #checkFirst(signal: AbortSignal): Promise<void> {
    try {
      await this.#readModels(signal);
      await this.#engine.probe(signal);
    } catch (error) {
      this.#serialized = undefined;
      const permanent = signal.aborted ? undefined : toPermanentError(error);
      if (permanent !== undefined) this.#options.onPermanentError(permanent);
      throw error;
    }
  }

  /** Reads the list of models. While it is empty, the previous capabilities stay. */
  async #readModels(signal: AbortSignal): Promise<void> {
    const { capabilities: given, labels, onCapabilities } = this.#options;
    const listed = await this.#engine.listModels(signal);
    const named = new Set(given.map(({ pairs }) => getPairValue('model', pairs)).filter((name) => name !== undefined));
    if (!listed && named.size === 0) throw createNoListError(this.url);
    const names = listed ?? [...named];
    this.#hasModel = names.length > 0;
    if (!this.#hasModel) return;
    const nameable = [...names, ...named];
    const capabilities = addLabels(
      names.flatMap((name) => listEngineCapabilities(this.#createPairs(name), given, nameable)),
      labels,
    );
    const serialized = capabilities.map(({ source }) => source).join('\n');
    if (serialized === this.#serialized) return;
    this.#serialized = serialized;
    onCapabilities(capabilities);
  }

  #createPairs(name: string): JsonObject {
    const facts = this.#engine.getFacts(name);
    const { types } = this.#options;
    const type = types.get(name) ?? types.get(name.replace(/:latest$/, ''));
    return createModelPairs(name, type === undefined ? facts : { ...facts, type });
  }
}

/** Creates the error for a server without a list of models. */
function createNoListError(url: string): AnyserveError {
  const advice = 'check the URL, or name the models with --cap model=NAME';
  return new AnyserveError('usage', `${url}/models is not a list of models; ${advice}`);
}
