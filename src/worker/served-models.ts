import type { Capability } from '../core/capability.js';
import { DEFAULTS } from '../core/defaults.js';
import { AnyserveError } from '../core/errors.js';
import type { Model } from './backend.js';
import type { WorkerSettings } from './worker-settings.js';

/** Which models a worker serves. */
export interface ServedModelsOptions extends Pick<WorkerSettings, 'backends' | 'maxConcurrency'> {
  /** Registered in place of what the only model declares. */
  readonly capabilities?: readonly Capability[] | undefined;
}

/** Returns the models that a worker starts with. Throws `usage` when there is none, or one too many for its capabilities. */
export function listServedModels({ backends, capabilities }: ServedModelsOptions): readonly Model[] {
  const models = listCurrentModels({ backends, capabilities });
  if (models.length === 0) {
    throw new AnyserveError('usage', 'there is no model to serve; give a module or a backend that has one');
  }
  if (!capabilities || capabilities.length === 0 || models.length === 1) return models;
  throw new AnyserveError(
    'usage',
    `capabilities can be given for one model; this worker has ${models.length}, which say their own`,
  );
}

/** Returns the models of all backends as they are now. Given capabilities replace those of the only model. */
export function listCurrentModels({ backends, capabilities }: ServedModelsOptions): readonly Model[] {
  const models = backends.flatMap((backend) => backend.models);
  const [only, ...others] = models;
  if (!only || others.length > 0 || !capabilities || capabilities.length === 0) return models;
  return [{ ...only, capabilities }];
}

/** Returns how many calls a worker runs at once. */
export function getMaxConcurrency({ maxConcurrency, backends }: ServedModelsOptions): number {
  return maxConcurrency ?? Math.max(...backends.map((backend) => backend.maxConcurrency ?? DEFAULTS.maxConcurrency));
}
