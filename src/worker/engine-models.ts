import { type Capability, getPairValue } from '../core/capability.js';
import { parseCapability } from '../json/capability-json.js';
import { parseJson } from '../json/exact-json.js';
import type { JsonObject } from '../json/json-value.js';
import type { Model } from './backend.js';

/** The models of an engine, created again whenever the engine lists different names. */
export class EngineModels {
  readonly #listeners = new Set<() => void>();
  #models: readonly Model[];
  /** The listed names, serialized for comparison. */
  #names: string;

  constructor(names: readonly string[], models: readonly Model[]) {
    this.#names = JSON.stringify(names);
    this.#models = models;
  }

  get models(): readonly Model[] {
    return this.#models;
  }

  /** Calls the listener after each change of the models. */
  watch(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Creates the models again if the names or their order differ from the previous list. */
  update(names: readonly string[], createModels: () => readonly Model[]): void {
    const serialized = JSON.stringify(names);
    if (serialized === this.#names) return;
    this.#names = serialized;
    this.#models = createModels();
    for (const listener of this.#listeners) listener();
  }
}

/**
 * Returns the capabilities of an engine's model: `type` and `model`, merged with the user's capabilities, whose pairs
 * replace those with the same keys. A user's capability that names one of the engine's models applies to that model only.
 */
export function listEngineCapabilities(
  type: string,
  model: string,
  userCapabilities: readonly Capability[],
  models: readonly string[],
): Capability[] {
  const base: JsonObject = new Map([
    ['type', type],
    ['model', model],
  ]);
  const applicable = userCapabilities.filter(({ pairs }) => {
    const name = getPairValue('model', pairs);
    return name === undefined || name === model || !models.includes(name);
  });
  const objects = applicable.length > 0 ? applicable.map(({ source }) => parseJson(source) as JsonObject) : [new Map()];
  return objects.map((object) => parseCapability(new Map([...base, ...object])));
}
