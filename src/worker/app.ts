import { AnyserveError } from '../core/errors.js';
import { parseTensorSpec, type TensorSpec } from '../inference/tensor-spec.js';
import { createCapability, type ScalarPairs } from '../json/capability-json.js';
import type { Backend, Handler, Model } from './backend.js';
import type { DeclaredInputs, DeclaredTensors } from './typed-handler.js';

/** What a model declares in addition to its capability. */
export interface ModelDeclaration<Inputs extends DeclaredTensors = DeclaredTensors> {
  /** The name that callers use. Default: the capability's `type`, else its `model`. */
  readonly name?: string;
  readonly version?: string;
  /** The inputs: they are shown as metadata, type the handler's inputs, and requests that don't fit are refused. */
  readonly inputs?: Inputs;
  readonly outputs?: DeclaredTensors;
}

/**
 * A worker's models, declared one by one:
 *
 * ```js
 * app.capability({ type: 'multiply' }, { inputs: { a: 'INT32', b: 'INT32' } }, ({ a, b }) => ({
 *   product: a.data.map((value, at) => value * b.data[at]),
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

  /** Takes the models of this name away, at any time; a worker that serves them stops offering them. */
  remove(name: string): this {
    const left = this.#models.filter((model) => model.name !== name);
    this.#models.splice(0, this.#models.length, ...left);
    this.#tellChange();
    return this;
  }

  /**
   * Declares a model by what it can do, at any time; a running worker offers it too. The declared inputs type those of the
   * handler. Throws `usage` for an invalid declaration.
   */
  capability(capability: ScalarPairs, handler: Handler): this;
  capability<const Inputs extends DeclaredTensors>(
    capability: ScalarPairs,
    declaration: ModelDeclaration<Inputs>,
    handler: Handler<DeclaredInputs<Inputs>>,
  ): this;
  capability(capability: ScalarPairs, second: ModelDeclaration | Handler, third?: Handler): this {
    const [declaration, handle] =
      typeof second === 'function' ? [{} as ModelDeclaration, second] : [second ?? {}, third];
    const name = declaration.name ?? capability['type'] ?? capability['model'];
    const shown = JSON.stringify(capability);
    if (typeof name !== 'string' || name === '') {
      throw new AnyserveError(
        'usage',
        `capability ${shown} has neither a type nor a model to be called by; give it a name`,
      );
    }
    if (typeof handle !== 'function') throw new AnyserveError('usage', `capability ${shown} has no handler`);
    this.#models.push({
      name,
      versions: declaration.version === undefined ? [] : [declaration.version],
      platform: 'anyserve',
      capabilities: [createCapability(capability)],
      inputs: specs('input', declaration.inputs),
      outputs: specs('output', declaration.outputs),
      handle,
    });
    this.#tellChange();
    return this;
  }

  #tellChange(): void {
    for (const listener of this.#listeners) listener();
  }
}

function specs(kind: string, declared: DeclaredTensors | undefined): TensorSpec[] | undefined {
  if (declared === undefined) return undefined;
  return Object.entries(declared).map(([name, text]) => {
    const optional = text.endsWith('?');
    const { datatype, shape } = parseTensorSpec(`${kind} ${JSON.stringify(name)}`, optional ? text.slice(0, -1) : text);
    return { name, datatype, shape: shape ?? [-1], optional };
  });
}
