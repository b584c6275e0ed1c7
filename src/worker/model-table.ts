import { getPairValue } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { quote, quoteList } from '../core/quoting.js';
import type { Model } from './backend.js';

/** Looks up a worker's models by the names that callers use. */
export interface ModelTable {
  readonly models: readonly Model[];
  /** Replaces the models. Running calls are not affected. */
  replace(models: readonly Model[]): void;
  /** Returns a model with this name, or undefined. */
  find(name: string, version: string): Model | undefined;
  /**
   * Returns the model with this name. Throws `not_found` with the known names if there is none, and `invalid_argument` if
   * the name is ambiguous.
   */
  get(name: string, version: string): Model;
}

/**
 * Creates a model table. A requested name is compared with the models' names, then with the `type` of their capabilities,
 * then with the `model`, because callers that found the replica by a capability use it as the name. If several models
 * match, the preferred one is used. The version can also be the capability's `model`, as the Python server's clients send
 * it.
 */
export function createModelTable(served: readonly Model[]): ModelTable {
  let models = served;

  const hasPair = (model: Model, key: string, value: string): boolean =>
    model.capabilities.some(({ pairs }) => getPairValue(key, pairs) === value);
  const hasVersion = (model: Model, version: string): boolean =>
    version === '' || model.versions.includes(version) || hasPair(model, 'model', version);

  /** Returns the models that match a name and a version, by the first kind of name with a match. */
  function findMatches(name: string, version: string): readonly Model[] {
    const candidates = [
      models.filter((model) => model.name === name),
      models.filter((model) => hasPair(model, 'type', name)),
      models.filter((model) => hasPair(model, 'model', name)),
    ].map((found) => found.filter((model) => hasVersion(model, version)));
    return candidates.find((found) => found.length > 0) ?? [];
  }

  return {
    get models() {
      return models;
    },
    replace(newModels) {
      models = newModels;
    },
    find: (name, version) => findMatches(name, version)[0],
    get(name, version) {
      const matches = findMatches(name, version);
      const [first, ...more] = matches;
      if (first) {
        if (more.length === 0) return first;
        const preferred = matches.find((model) => model.preferred);
        if (preferred) return preferred;
        throw createAmbiguityError(name, matches);
      }
      const requested = version === '' ? quote(name) : `${quote(name)} version ${quote(version)}`;
      const known = quoteList(models.map((model) => model.name));
      throw new AnyserveError('not_found', `this worker has no model ${requested}; its models: ${known}`);
    },
  };
}

function createAmbiguityError(name: string, models: readonly Model[]): AnyserveError {
  const choices = models.map(({ capabilities }) => capabilities.map(({ source }) => source).join(' ')).join(', ');
  const message = `${models.length} models of this worker match ${quote(name)}: ${choices}; use the "model" of one as the name or as the version`;
  return new AnyserveError('invalid_argument', message);
}
