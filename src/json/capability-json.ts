import { type Capability, createPairs } from '../core/capability.js';
import { type Json, JsonNumber, type JsonObject, serializeJson } from './exact-json.js';
import { internStrings } from './string-memory.js';

/** A capability from the object that a replica registers. */
export function parseCapability(object: JsonObject): Capability {
  return parseCapabilities([object])[0] as Capability;
}

/** Capabilities from the objects that a replica registers; values other than text, numbers and booleans never match. */
export function parseCapabilities(objects: readonly JsonObject[]): Capability[] {
  const texts: string[] = [];
  const ends = objects.map((object) => {
    for (const [key, value] of object) {
      const text = formatScalar(value);
      if (text !== undefined) texts.push(key, text);
    }
    return texts.length;
  });
  const pooled = internStrings(texts);
  return objects.map((object, at) => ({
    pairs: pooled.slice(ends[at - 1] ?? 0, ends[at]),
    source: serializeJson(object),
  }));
}

/** A scalar as the text that a query is compared with; undefined for null, objects and arrays. */
export function formatScalar(value: Json): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  if (value instanceof JsonNumber) return value.text;
  return undefined;
}

/** A capability as a program gives it. */
export type ScalarPairs = Readonly<Record<string, string | number | boolean>>;

/** A capability from a program's object. */
export function createCapability(pairs: ScalarPairs): Capability {
  const entries = Object.entries(pairs);
  return {
    pairs: createPairs(entries.map(([key, value]) => [key, String(value)])),
    source: JSON.stringify(Object.fromEntries(entries)),
  };
}
