import { AnyserveError } from '../core/errors.js';
import { capabilityFromScalars, type ScalarPairs } from '../wire/replica-json.js';
import { datatypeAndShape, type TensorSpec } from '../wire/tensor-spec.js';
import type { Backend, Handler, Model } from './backend.js';

/** Inputs or outputs by name, each as `FP32[-1,3]`, or as `FP32` for any length of one dimension; `?` ends an optional one. */
export type DeclaredTensors = Readonly<Record<string, string>>;

/** What can be said of a model beside what it can do. */
export interface ModelDeclaration {
  /** The name it is called by; the capability's `type`, else its `model`, unless told. */
  readonly name?: string;
  readonly version?: string;
  /** What it takes: metadata tells it, and what does not fit is refused before the handler sees it. */
  readonly inputs?: DeclaredTensors;
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

  /** Declares a model by what it can do, at any time; a worker that runs offers it as well. Throws `usage` for a declaration that does not hold. */
  capability(capability: ScalarPairs, handler: Handler): this;
  capability(capability: ScalarPairs, declaration: ModelDeclaration, handler: Handler): this;
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
      capabilities: [capabilityFromScalars(capability)],
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
    const { datatype, shape } = datatypeAndShape(
      `${kind} ${JSON.stringify(name)}`,
      optional ? text.slice(0, -1) : text,
    );
    return { name, datatype, shape: shape ?? [-1], optional };
  });
}
