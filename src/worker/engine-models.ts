import type { Model } from './backend.js';

/** The models of an engine, created again whenever the engine lists others, or says something else about them. */
export class EngineModels {
  readonly #listeners = new Set<() => void>();
  #models: readonly Model[];
  /** The engine's list, serialized for comparison. */
  #listed: string;

  constructor(listed: string, models: readonly Model[]) {
    this.#listed = listed;
    this.#models = models;
  }

  get models(): readonly Model[] {
    return this.#models;
  }

  /** Calls the listener after each change of the models. */
  watch(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Creates the models again if the serialized list differs from the previous one. */
  update(listed: string, createModels: () => readonly Model[]): void {
    if (listed === this.#listed) return;
    this.#listed = listed;
    this.#models = createModels();
    for (const listener of this.#listeners) listener();
  }
}
