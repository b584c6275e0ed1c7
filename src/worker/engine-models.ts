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
