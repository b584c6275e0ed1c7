import { type Capability, pairValue } from '../core/capability.js';
import { type JsonObject, parseJson } from '../wire/json.js';
import { capabilityFromJson } from '../wire/replica-json.js';

/**
 * What an engine's model offers: `type` and `model`, and over them what was said of it: a capability given adds its
 * pairs, and replaces those with the same keys. One that names a model of the engine speaks of that model alone.
 */
export function offeredCapabilities(
  type: string,
  model: string,
  given: readonly Capability[],
  models: readonly string[],
): Capability[] {
  const own: JsonObject = new Map([
    ['type', type],
    ['model', model],
  ]);
  const meant = given.filter(({ pairs }) => {
    const named = pairValue('model', pairs);
    return named === undefined || named === model || !models.includes(named);
  });
  const objects = meant.length > 0 ? meant.map(({ source }) => parseJson(source) as JsonObject) : [new Map()];
  return objects.map((object) => capabilityFromJson(new Map([...own, ...object])));
}
