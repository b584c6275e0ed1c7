import { type Capability, pairsFrom } from '../core/capability.js';
import { asEndpoint, asReplicaId } from '../core/ids.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import { isJsonObject, type Json, JsonNumber, type JsonObject, jsonText } from './json.js';
import { isPlainObject, type PlainJson, type PlainObject } from './plain-json.js';
import { pooledTexts } from './pooled-text.js';
import { replicaText } from './written-replica.js';

/** The body of `POST /register`, for a lease that lasts so long without being renewed, and a replica in this state. */
export function registrationText(replica: Replica, ttlMs: number, state: DeclaredState = 'ready'): string {
  const declared = state === 'ready' ? '' : `,"state":${JSON.stringify(state)}`;
  return `${replicaText(replica).slice(0, -1)},"ttl":${ttlMs / 1000}${declared}}`;
}

/** Reads an entry of the list; undefined when it is not one. */
export function replicaFromJson(entry: Json): Replica | undefined {
  if (!isJsonObject(entry)) return undefined;
  const id = entry.get('replica_id');
  const endpoint = entry.get('endpoint');
  const capabilities = entry.get('capabilities');
  if (typeof id !== 'string' || typeof endpoint !== 'string' || !Array.isArray(capabilities)) return undefined;
  return {
    id: asReplicaId(id),
    endpoint: asEndpoint(endpoint),
    capabilities: capabilitiesFromJson(capabilities.filter(isJsonObject)),
  };
}

/** Reads an entry of the list as `JSON.parse` returned it. Undefined if it isn't one. */
export function replicaFromPlain(entry: PlainJson): Replica | undefined {
  if (!isPlainObject(entry)) return undefined;
  const { replica_id: id, endpoint, capabilities } = entry;
  if (typeof id !== 'string' || typeof endpoint !== 'string' || !Array.isArray(capabilities)) return undefined;
  return {
    id: asReplicaId(id),
    endpoint: asEndpoint(endpoint),
    capabilities: capabilities.filter(isPlainObject).map(capabilityFromPlain),
  };
}

function capabilityFromPlain(object: PlainObject): Capability {
  const pairs: string[] = [];
  for (const [key, value] of Object.entries(object)) {
    if (typeof value !== 'object') pairs.push(key, String(value));
  }
  return { pairs, source: JSON.stringify(object) };
}

/** A capability from the object that a replica registers. */
export function capabilityFromJson(object: JsonObject): Capability {
  return capabilitiesFromJson([object])[0] as Capability;
}

/** Capabilities from the objects that a replica registers; values other than text, numbers and booleans never match. */
export function capabilitiesFromJson(objects: readonly JsonObject[]): Capability[] {
  const texts: string[] = [];
  const ends = objects.map((object) => {
    for (const [key, value] of object) {
      const text = scalarText(value);
      if (text !== undefined) texts.push(key, text);
    }
    return texts.length;
  });
  const pooled = pooledTexts(texts);
  return objects.map((object, at) => ({
    pairs: pooled.slice(ends[at - 1] ?? 0, ends[at]),
    source: jsonText(object),
  }));
}

/** A scalar as the text that a query is compared with; undefined for null, objects and arrays. */
export function scalarText(value: Json): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value === 'boolean') return String(value);
  if (value instanceof JsonNumber) return value.text;
  return undefined;
}

/** A capability as a program gives it. */
export type ScalarPairs = Readonly<Record<string, string | number | boolean>>;

/** A capability from a program's object. */
export function capabilityFromScalars(pairs: ScalarPairs): Capability {
  const entries = Object.entries(pairs);
  return {
    pairs: pairsFrom(entries.map(([key, value]) => [key, String(value)])),
    source: JSON.stringify(Object.fromEntries(entries)),
  };
}
