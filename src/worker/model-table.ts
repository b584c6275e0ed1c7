import { getPairValue } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { quote, quoteList } from '../core/quoting.js';
import type { Model } from './backend.js';

/** The models of a worker, by the names that callers use. */
export interface ModelTable {
  readonly models: readonly Model[];
  /** Serves other models from now on; calls that run are not disturbed. */
  replace(models: readonly Model[]): void;
  /** The model of this name; undefined when there is none. */
  find(name: string, version: string): Model | undefined;
  /** The one model of this name; throws `not_found` that says which there are, `invalid_argument` when it is not one. */
  get(name: string, version: string): Model;
}

/**
 * A model answers to its name, to the `type` of what it can do and to its `model`, in this order: a caller who found
 * the replica by a capability calls it by that. Of several, the preferred one answers. The version may also be given as the capability's `model`, as the
 * original's clients do.
 */
export function createModelTable(served: readonly Model[]): ModelTable {
  let models = served;

  const hasPair = (model: Model, key: string, value: string): boolean =>
    model.capabilities.some(({ pairs }) => getPairValue(key, pairs) === value);
  const hasVersion = (model: Model, version: string): boolean =>
    version === '' || model.versions.includes(version) || hasPair(model, 'model', version);

  /** Those that answer to a name and a version, by the first of the ways in which any does. */
  function fitting(name: string, version: string): readonly Model[] {
    const ways = [
      models.filter((model) => model.name === name),
      models.filter((model) => hasPair(model, 'type', name)),
      models.filter((model) => hasPair(model, 'model', name)),
    ].map((found) => found.filter((model) => hasVersion(model, version)));
    return ways.find((found) => found.length > 0) ?? [];
  }

  return {
    get models() {
      return models;
    },
    replace(others) {
      models = others;
    },
    find: (name, version) => fitting(name, version)[0],
    get(name, version) {
      const found = fitting(name, version);
      const [only, ...others] = found;
      if (only) {
        if (others.length === 0) return only;
        const preferred = found.find((model) => model.preferred);
        if (preferred) return preferred;
        throw ambiguous(name, found);
      }
      const asked = version === '' ? quote(name) : `${quote(name)} version ${quote(version)}`;
      const there = quoteList(models.map((model) => model.name));
      throw new AnyserveError('not_found', `no model ${asked} here; there is ${there}`);
    },
  };
}

function ambiguous(name: string, models: readonly Model[]): AnyserveError {
  const choices = models.map(({ capabilities }) => capabilities.map(({ source }) => source).join(' ')).join(', ');
  const message = `${models.length} models here answer to ${quote(name)}: ${choices}; call one by its "model", or give that as the version`;
  return new AnyserveError('invalid_argument', message);
}
