import { type Capability, getPairValue } from '../core/capability.js';
import { parseCapability } from '../json/capability-json.js';
import { type JsonObject, parseJson } from '../json/exact-json.js';
import type { Model } from './backend.js';

/** The models of an engine, made again whenever the engine lists other names. */
export class EngineModels {
  readonly #listeners = new Set<() => void>();
  #models: readonly Model[];
  #listed: string;

  constructor(listed: readonly string[], models: readonly Model[]) {
    this.#listed = JSON.stringify(listed);
    this.#models = models;
  }

  get models(): readonly Model[] {
    return this.#models;
  }

  /** Calls the listener after each change of the models. */
  watch(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Makes the models again if the engine lists other names than before, or in another order. */
  follow(listed: readonly string[], make: () => readonly Model[]): void {
    const names = JSON.stringify(listed);
    if (names === this.#listed) return;
    this.#listed = names;
    this.#models = make();
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Returns the capabilities of an engine's model: `type` and `model`, overlaid with the capabilities that the user gave, whose
 * pairs replace those with the same keys. A capability that names a model of the engine is for that model alone.
 */
export function listEngineCapabilities(
  type: string,
  model: string,
  given: readonly Capability[],
  models: readonly string[],
): Capability[] {
  const own: JsonObject = new Map([
    ['type', type],
    ['model', model],
  ]);
  const meant = given.filter(({ pairs }) => {
    const named = getPairValue('model', pairs);
    return named === undefined || named === model || !models.includes(named);
  });
  const objects = meant.length > 0 ? meant.map(({ source }) => parseJson(source) as JsonObject) : [new Map()];
  return objects.map((object) => parseCapability(new Map([...own, ...object])));
}
