import { measureMisspelling } from '../../core/edit-distance.js';
import { quote } from '../../core/quoting.js';
import type { ModelFleet } from '../model-fleet.js';
import type { OpenaiError } from './openai-error.js';

/** Maximum number of models that an unknown name is compared with, and of names that are suggested. */
const MAX_COMPARED = 1000;
const MAX_SUGGESTED = 3;

/** Maximum length of a model's name, in UTF-16 units. API servers accept 256 bytes. */
const MAX_NAME_UNITS = 1024;

/** An entry of `GET /v1/models`. */
interface ModelEntry {
  readonly id: string;
  readonly object: 'model';
  /** Time in seconds since 1970. It is when the list was created, because the registry doesn't know when models were made. */
  readonly created: number;
  readonly owned_by: string;
}

/** Other names of models: for each, the models that it stands for. */
type ModelAliases = ReadonlyMap<string, readonly string[]>;

/** The list of models that callers can name: those of the fleet, and the aliases of which one target is offered. */
export class ModelList {
  readonly #fleet: ModelFleet;
  readonly #aliases: ModelAliases;
  readonly #created: number;
  /** The lists since the last change of the fleet, by the callers that see the same. Making one takes 8 ms for 1,000 models. */
  #lists: { readonly of: object; readonly byCallers: Map<string, readonly ModelEntry[]> } | undefined;

  constructor(fleet: ModelFleet, aliases: ModelAliases, startedEpochMs: number) {
    this.#fleet = fleet;
    this.#aliases = aliases;
    this.#created = Math.floor(startedEpochMs / 1000);
  }

  /**
   * Lists the names, sorted. `isVisible` says whether the caller can call a model, and `callers` stands for the callers for which it
   * says the same.
   */
  list(callers: string, isVisible: (model: string) => boolean): readonly ModelEntry[] {
    const { snapshot } = this.#fleet;
    if (this.#lists?.of !== snapshot) this.#lists = { of: snapshot, byCallers: new Map() };
    const { byCallers } = this.#lists;
    const list = byCallers.get(callers) ?? this.#createList(isVisible);
    byCallers.set(callers, list);
    return list;
  }

  #createList(isVisible: (model: string) => boolean): readonly ModelEntry[] {
    const names = new Set(this.#fleet.listModels().filter(isVisible));
    for (const [name, targets] of this.#aliases) if (targets.some(isVisible)) names.add(name);
    return [...names].sort().map((id) => this.#createEntry(id));
  }

  /** Finds one name; undefined if the caller can't call it. */
  find(name: string, isVisible: (model: string) => boolean): ModelEntry | undefined {
    const targets = this.#aliases.get(name) ?? [name];
    return targets.some(isVisible) ? this.#createEntry(name) : undefined;
  }

  #createEntry(id: string): ModelEntry {
    return { id, object: 'model', created: this.#created, owned_by: 'anyserve' };
  }
}

/** Decodes the name of a model in a path. Text that is not percent-encoded stays as it is. */
export function decodeModelName(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Returns whether a name is longer than that of any model. Such a name must not be kept in memory. */
export function isTooLong(name: string): boolean {
  return name.length > MAX_NAME_UNITS;
}

/**
 * Creates the error for a model that no replica offers, with the offered names that are most like it. `isVisible` says whether the
 * caller can call a model. It is asked only about similar names.
 */
export function createUnknownModelError(
  model: string,
  names: readonly string[],
  isVisible: (model: string) => boolean,
): OpenaiError {
  const similar = isTooLong(model) ? [] : findSimilar(model, names.slice(0, MAX_COMPARED));
  const offered = similar.filter(isVisible).slice(0, MAX_SUGGESTED);
  const hint = offered.length > 0 ? `; did you mean ${offered.map(quote).join(' or ')}?` : '';
  return {
    status: 404,
    message: `no replica offers the model ${quote(model)}${hint}`,
    type: 'invalid_request_error',
    code: 'model_not_found',
    param: 'model',
  };
}

function findSimilar(model: string, names: readonly string[]): readonly string[] {
  const scored: [name: string, distance: number][] = [];
  for (const name of names) {
    const isPart = model.length >= 3 && name.toLowerCase().includes(model.toLowerCase());
    const distance = measureMisspelling(model, name) ?? (isPart ? 4 : undefined);
    if (distance !== undefined) scored.push([name, distance]);
  }
  scored.sort(([, a], [, b]) => a - b);
  return scored.map(([name]) => name);
}
