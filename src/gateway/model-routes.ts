import type { TableDiscovery } from '../client/balancing/table-discovery.js';
import { createUnknownModelError, isTooLong } from '../client/http-calls/model-list.js';
import { createRequestError, type OpenaiError } from '../client/http-calls/openai-error.js';
import type { ModelFleet } from '../client/model-fleet.js';
import { GenerationalCache } from '../core/generational-cache.js';
import { quote } from '../core/quoting.js';
import type { Aliases } from './aliases.js';
import type { CallBackend } from './call-backend.js';
import type { CallPath } from './call-paths.js';
import { type Caller, type Steering, SteeringHeaders } from './steering.js';

/** Options of {@link ModelRoutes}. */
export interface ModelRoutesOptions {
  readonly fleet: ModelFleet;
  /** Ways of calling replicas, the preferred one first. */
  readonly backends: readonly CallBackend[];
  readonly aliases: Aliases;
}

/** The replicas of a model that a backend can call. */
export interface CallRoute {
  /** Name of the model at the replicas. */
  readonly target: string;
  readonly backend: CallBackend;
  readonly discovery: TableDiscovery;
}

/** The routes for a list of replicas. */
interface KnownRoutes {
  /** Stands for the list. */
  readonly snapshot: object;
  readonly routes: readonly CallRoute[];
}

/** Maximum number of combinations of names and conditions whose routes are kept for each path. */
const MAX_KNOWN = 1000;

/** Finds the replicas that can take a call: those of the requested model, or of the models that an alias stands for. */
export class ModelRoutes {
  readonly #options: ModelRoutesOptions;
  readonly #steering = new SteeringHeaders();
  readonly #known = new Map<CallPath, GenerationalCache<string, KnownRoutes>>();

  constructor(options: ModelRoutesOptions) {
    this.#options = options;
  }

  /** Reads which replicas a request wants. */
  readSteering(rawHeaders: readonly string[], caller: Caller): Steering | { readonly problem: string } {
    return this.#steering.read(rawHeaders, caller);
  }

  isAlias(name: string): boolean {
    return this.#options.aliases.has(name);
  }

  /** Lists the models that a name stands for, in the order in which they are tried. */
  listTargets(name: string): readonly string[] {
    return this.#options.aliases.get(name) ?? [name];
  }

  /**
   * Lists the routes to the models that a name stands for, in the order in which they are tried. For a model without any replica, it is
   * the first backend, which waits for replicas after the start of an API server. They are the same until the list of replicas changes.
   */
  list(path: CallPath, name: string, steering: Steering): readonly CallRoute[] {
    const { snapshot } = this.#options.fleet;
    const known = this.#known.get(path) ?? new GenerationalCache(MAX_KNOWN);
    this.#known.set(path, known);
    const key = steering.text === '' ? name : `${name}\n${steering.text}`;
    const last = known.get(key);
    if (last?.snapshot === snapshot) return last.routes;
    const routes = this.listTargets(name).flatMap((target) => this.#listFor(path, target, steering));
    known.set(key, { snapshot, routes });
    return routes;
  }

  /** Returns whether several replicas with an HTTP endpoint offer one of the models. */
  hasSeveralEngines(targets: readonly string[], steering: Steering): boolean {
    const counts = targets.map((target) => {
      const routes = this.#listAll(target, steering).filter(({ backend }) => backend.protocol === 'http');
      return routes.reduce((sum, { discovery }) => sum + discovery.count, 0);
    });
    return Math.max(0, ...counts) > 1;
  }

  /** Returns whether a replica offers a model to a caller. */
  isOffered(model: string, caller: Caller): boolean {
    if (isTooLong(model)) return false;
    const steering = this.readSteering([], caller);
    return !('problem' in steering) && this.#isMatched(model, steering);
  }

  /** Returns whether a name is that of a model which is offered to a caller, or an alias of one. */
  isNamed(name: string, caller: Caller): boolean {
    return this.listTargets(name).some((model) => this.isOffered(model, caller));
  }

  /** Creates the error for a name that stands for no model which is offered to a caller. */
  createUnknownModelError(model: string, caller: Caller): OpenaiError {
    return createUnknownModelError(model, this.#options.fleet.listModels(), (name) => this.isOffered(name, caller));
  }

  /** Creates the error for a call without a match: the name stands for no model, or the request's headers exclude all replicas. */
  createNoMatchError(name: string, rawHeaders: readonly string[], caller: Caller): OpenaiError | undefined {
    if (!this.isNamed(name, caller)) return this.createUnknownModelError(name, caller);
    const steering = this.readSteering(rawHeaders, caller);
    if ('problem' in steering || this.listTargets(name).some((target) => this.#isMatched(target, steering)))
      return undefined;
    const message = `no replica of the model ${quote(name)} matches the X-Anyserve headers of the request`;
    return createRequestError(message, { status: 404, code: 'no_match' });
  }

  #listFor(path: CallPath, target: string, steering: Steering): readonly CallRoute[] {
    const routes = this.#listAll(target, steering);
    const found = routes.filter(({ discovery }) => discovery.count > 0);
    return (found.length > 0 ? found : routes.slice(0, 1)).filter(({ backend }) => backend.supports(path));
  }

  #isMatched(target: string, steering: Steering): boolean {
    return this.#listAll(target, steering).some(({ discovery }) => discovery.count > 0);
  }

  #listAll(target: string, { conditions, text }: Steering): readonly CallRoute[] {
    const { fleet, backends } = this.#options;
    return backends.map((backend) => {
      const discovery = fleet.getDiscovery(target, backend.protocol, conditions, text);
      return { target, backend, discovery };
    });
  }
}
