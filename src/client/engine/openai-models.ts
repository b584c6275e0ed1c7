import type { UntrustedJson } from '../../inference/openai-errors.js';
import { type ModelFacts, readModelFacts } from './model-facts.js';

/** Maximum number of models in a list: the maximum number of capabilities in a registration. */
const MAX_MODELS = 4096;

/** Maximum length of a model's name, in characters. */
const MAX_NAME_LENGTH = 1024;

/** A model in a server's list. */
export interface ListedModel {
  readonly name: string;
  /** Properties that the entry contains. */
  readonly facts: ModelFacts;
  /** The entry's `owned_by`. */
  readonly ownedBy: string | undefined;
}

/**
 * Parses a list of models: OpenAI's `{"data":[...]}`, a bare array (Together, GitHub), or `{"models":[...]}`. Skips entries
 * without a usable name. Returns undefined for anything but a list. Throws for a list that is too long.
 */
export function parseModelList(json: UntrustedJson): readonly ListedModel[] | undefined {
  const { data, models: named, object } = json;
  // Some gateways wrap the list a second time.
  const list = [json, data, named, data?.data, data?.models, named?.data].find((found) => Array.isArray(found));
  // The response of Ollama without models.
  if (!list && object === 'list' && data === null) return [];
  if (!list) return undefined;
  if (list.length > MAX_MODELS) throw new Error(`its list has ${list.length} models, more than ${MAX_MODELS}`);
  const models = new Map<string, ListedModel>();
  for (const entry of list) {
    const name = typeof entry === 'string' ? entry : (entry?.id ?? entry?.name ?? entry?.model);
    if (typeof name !== 'string' || name === '' || name.length > MAX_NAME_LENGTH || !name.isWellFormed()) continue;
    const ownedBy = typeof entry?.owned_by === 'string' ? entry.owned_by : undefined;
    models.set(name, { name, facts: readModelFacts(entry), ownedBy });
  }
  return [...models.values()];
}
