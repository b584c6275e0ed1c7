import { AnyserveError } from '../core/errors.js';
import { checkOptionTypes, type OptionTypes } from '../core/option-types.js';
import { parseTensorSpec, type TensorSpec } from '../inference/tensor-spec.js';
import { createCapability, type ScalarPairs } from '../json/capability-json.js';
import type { Backend, Handler, Model } from './backend.js';
import type { DeclaredInputs, DeclaredTensors } from './typed-handler.js';

/** Name, version, inputs and outputs that a model declares in addition to its capability. */
export interface ModelDeclaration<Inputs extends DeclaredTensors = DeclaredTensors> {
  /** Name that callers use. Default: the capability's `type`, or its `model` if it has no type. */
  readonly name?: string;
  readonly version?: string;
  /**
   * Inputs by name. They appear in the model's metadata and determine the types of the handler's inputs. Requests that
   * don't match them are rejected.
   */
  readonly inputs?: Inputs;
  readonly outputs?: DeclaredTensors;
}

const DECLARATION_TYPES: OptionTypes<ModelDeclaration> = {
  name: 'string',
  version: 'string',
  inputs: 'object',
  outputs: 'object',
};

/**
 * Backend whose models are declared one by one:
 *
 * ```js
 * app.capability({ type: 'multiply' }, { inputs: { a: 'INT32', b: 'INT32' } }, ({ a, b }) => ({
 *   product: a.data.map((value, i) => value * b.data[i]),
 * }));
 * ```
 */
export class App implements Backend {
  readonly #models: Model[] = [];
  readonly #listeners = new Set<() => void>();

  get models(): readonly Model[] {
    return this.#models;
  }

  watchModels(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Removes the models with this name. Can be called at any time: a running worker stops serving them. */
  remove(name: string): this {
    const remaining = this.#models.filter((model) => model.name !== name);
    this.#models.splice(0, this.#models.length, ...remaining);
    this.#notifyListeners();
    return this;
  }

  /**
   * Declares a model by its capability. Can be called at any time: a running worker adds the model. The declared inputs
   * determine the types of the handler's inputs. Throws `usage` for an invalid declaration.
   */
  capability(capability: ScalarPairs, handler: Handler): this;
  capability<const Inputs extends DeclaredTensors>(
    capability: ScalarPairs,
    declaration: ModelDeclaration<Inputs>,
    handler: Handler<DeclaredInputs<Inputs>>,
  ): this;
  capability(capability: ScalarPairs, second: ModelDeclaration | Handler, third?: Handler): this {
    const [declaration, handle]: [ModelDeclaration, Handler | undefined] =
      typeof second === 'function' ? [{}, second] : [second === undefined ? {} : second, third];
    checkOptionTypes<ModelDeclaration>('capability', declaration, DECLARATION_TYPES);
    const name = declaration.name ?? capability['type'] ?? capability['model'];
    const json = JSON.stringify(capability);
    if (typeof name !== 'string' || name === '') {
      throw new AnyserveError(
        'usage',
        `capability ${json} has no "type" or "model" that could be its model's name; declare a name`,
      );
    }
    if (typeof handle !== 'function') throw new AnyserveError('usage', `capability ${json} has no handler`);
    this.#models.push({
      name,
      versions: declaration.version === undefined ? [] : [declaration.version],
      platform: 'anyserve',
      capabilities: [createCapability(capability)],
      inputs: parseTensorSpecs('input', declaration.inputs),
      outputs: parseTensorSpecs('output', declaration.outputs),
      handle,
    });
    this.#notifyListeners();
    return this;
  }

  #notifyListeners(): void {
    for (const listener of this.#listeners) listener();
  }
}

function parseTensorSpecs(kind: string, declared: DeclaredTensors | undefined): TensorSpec[] | undefined {
  if (declared === undefined) return undefined;
  return Object.entries(declared).map(([name, text]) => {
    const optional = text.endsWith('?');
    const { datatype, shape } = parseTensorSpec(`${kind} ${JSON.stringify(name)}`, optional ? text.slice(0, -1) : text);
    return { name, datatype, shape: shape ?? [-1], optional };
  });
}
