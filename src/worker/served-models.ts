import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { Model } from './backend.js';
import type { WorkerSettings } from './worker-settings.js';

/** Options that determine which models a worker serves. */
export interface ServedModelsOptions extends Pick<WorkerSettings, 'backends' | 'maxConcurrency'> {
  /** Capabilities that replace those of the worker's only model. */
  readonly capabilities?: readonly Capability[] | undefined;
}

/** Returns the initial models of a worker. Throws `usage` if there is none, or if capabilities are given for several. */
export function listServedModels({ backends, capabilities }: ServedModelsOptions): readonly Model[] {
  const models = listCurrentModels({ backends, capabilities });
  if (models.length === 0) {
    throw new AnyserveError('usage', 'no model to serve; give a module or a backend with at least one model');
  }
  if (!capabilities || capabilities.length === 0 || models.length === 1) return models;
  throw new AnyserveError(
    'usage',
    `capabilities can only be set for a worker with one model; this one has ${models.length} models, which declare their own`,
  );
}

/** Returns the current models of all backends. Capabilities in the options replace those of the only model. */
export function listCurrentModels({ backends, capabilities }: ServedModelsOptions): readonly Model[] {
  const models = backends.flatMap((backend) => backend.models);
  const [first, ...more] = models;
  if (!first || more.length > 0 || !capabilities || capabilities.length === 0) return models;
  return [{ ...first, capabilities }];
}

/** Returns the maximum number of calls that a worker runs at once. */
export function getMaxConcurrency({ maxConcurrency, backends }: ServedModelsOptions): number {
  return maxConcurrency ?? Math.max(...backends.map((backend) => backend.maxConcurrency ?? DEFAULTS.maxConcurrency));
}
