import { type Capability, getPairValue } from '../../core/capability.js';
import { parseCapability } from '../../json/capability-json.js';
import { parseJson } from '../../json/exact-json.js';
import { type Json, JsonNumber, type JsonObject } from '../../json/json-value.js';
import type { ModelFacts } from './model-facts.js';

/** Returns the pairs that describe a model: type, name, and what the engine says about it, such as `ctx` and `tools`. */
export function createModelPairs(
  name: string,
  { type = 'chat', contextLength, tools, vision }: ModelFacts,
): JsonObject {
  const pairs = new Map<string, Json>([
    ['type', type],
    ['model', name],
  ]);
  if (contextLength !== undefined) pairs.set('ctx', new JsonNumber(String(contextLength)));
  if (tools) pairs.set('tools', true);
  if (vision) pairs.set('vision', true);
  return pairs;
}

/**
 * Returns the capabilities of an engine's model: its pairs, merged with the user's capabilities, whose pairs replace those
 * with the same keys. A user's capability that names one of the engine's models applies to that model only.
 */
export function listEngineCapabilities(
  pairs: JsonObject,
  userCapabilities: readonly Capability[],
  models: readonly string[],
): Capability[] {
  const applicable = userCapabilities.filter((capability) => {
    const name = getPairValue('model', capability.pairs);
    return name === undefined || name === pairs.get('model') || !models.includes(name);
  });
  const objects = applicable.length > 0 ? applicable.map(({ source }) => parseJson(source) as JsonObject) : [new Map()];
  return objects.map((object) => parseCapability(new Map([...pairs, ...object])));
}
