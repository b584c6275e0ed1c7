import { type Capability, createPairs, listPairs, type Pairs } from '../core/capability.js';
import { parseJson, SERVER_JSON_LIMITS } from './exact-json.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject, serializeJson } from './json-value.js';
import { internStrings } from './string-memory.js';

/** Converts a capability object, as a replica registers it. */
export function parseCapability(object: JsonObject): Capability {
  return parseCapabilities([object])[0] as Capability;
}

/** Converts capability objects, as a replica registers them. Only strings, numbers and booleans can match a query. */
export function parseCapabilities(objects: readonly JsonObject[]): Capability[] {
  const texts: string[] = [];
  const ends = objects.map((object) => {
    for (const [key, value] of object) {
      const text = formatScalar(value);
      if (text !== undefined) texts.push(key, text);
    }
    return texts.length;
  });
  const interned = internStrings(texts);
  return objects.map((object, index) => ({
    pairs: interned.slice(ends[index - 1] ?? 0, ends[index]),
    source: serializeJson(object),
  }));
}

/** Adds labels to capability objects. An object that has the key of a label keeps its own value. */
export function addLabels(capabilities: readonly Capability[], labels: Pairs): readonly Capability[] {
  if (labels.length === 0) return capabilities;
  return capabilities.map(({ source }) => {
    const object = parseJson(source) as JsonObject;
    const added = listPairs(labels).filter(([key]) => !object.has(key));
    return parseCapability(new Map([...object, ...added]));
  });
}

/**
 * Formats capabilities, each as `--cap` accepts it, such as `model=llama,type=chat`. Values other than scalars are JSON.
 */
export function formatCapabilities(capabilities: readonly Capability[]): string {
  return capabilities.map(formatCapability).join('; ');
}

function formatCapability({ source }: Capability): string {
  const object = parseJson(source, SERVER_JSON_LIMITS);
  if (!isJsonObject(object)) return source;
  if (object.size === 0) return '{}';
  return [...object].map(([key, value]) => `${key}=${formatScalar(value) ?? serializeJson(value)}`).join(',');
}

/** Formats a scalar as the string that queries are compared with. Returns undefined for null, objects and arrays. */
export function formatScalar(value: Json): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  if (value instanceof JsonNumber) return value.text;
  return undefined;
}

/** A capability as key-value pairs: `{ model: 'qwen2', type: 'chat' }`. Numbers and booleans match as text. */
export type ScalarPairs = Readonly<Record<string, string | number | boolean>>;

/** Creates a capability from key-value pairs. */
export function createCapability(pairs: ScalarPairs): Capability {
  const entries = Object.entries(pairs);
  return {
    pairs: createPairs(entries.map(([key, value]) => [key, String(value)])),
    source: JSON.stringify(Object.fromEntries(entries)),
  };
}
