import type { Model } from './backend.js';

/** The models of an engine, made again whenever its list of names is another. */
export class FollowedModels {
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
