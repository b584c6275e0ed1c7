import type { Capability } from '../core/capability.js';
import type { Cordon } from '../core/cordon.js';
import { asEndpoint, asReplicaId } from '../core/ids.js';
import type { ReplicaLoad } from '../core/load.js';
import type { DeclaredState, NumberedInstance, Replica } from '../core/replica.js';
import { parseCapabilities } from '../json/capability-json.js';
import { isJsonObject, type Json } from '../json/json-value.js';
import { isPlainObject, type PlainJson, type PlainObject } from '../json/plain-json.js';
import { serializeCordon } from './cordon-json.js';
import { serializeInstance } from './instance-json.js';
import { serializeLoad } from './load-json.js';

/** Creates the list entry of a replica. `head` is the part before the first capability object. */
export function createListEntry({ id, endpoint, capabilities }: Replica): {
  readonly head: string;
  readonly entry: string;
} {
  const head = `{"replica_id":${JSON.stringify(id)},"endpoint":${JSON.stringify(endpoint)},"capabilities":[`;
  const sources = capabilities.map(({ source }) => source).join(',');
  // join() makes a flat string. Concatenation would make a tree of strings, which every list would have to traverse.
  return { head, entry: [head, sources, ']}'].join('') };
}

/** The terms of a registration. */
export interface RegistrationTerms {
  /** TTL of the lease, in ms. */
  readonly ttlMs: number;
  /** Default: `ready`. */
  readonly state?: DeclaredState | undefined;
  /** The registering process and the number of this registration. Default: not sent. */
  readonly instance?: NumberedInstance | undefined;
  /** The newest cordon of the id that the process knows. Default: not sent. */
  readonly cordon?: Cordon | undefined;
  /** Share of the calls. Default: 1. */
  readonly weight?: number | undefined;
  /** The load. Default: not sent. */
  readonly load?: ReplicaLoad | undefined;
}

/** Serializes the body of `POST /register` for a lease with a TTL. Defaults are omitted. */
export function serializeRegistration(
  replica: Replica,
  { ttlMs, state = 'ready', instance, cordon, weight = 1, load }: RegistrationTerms,
): string {
  const stateMember = state === 'ready' ? '' : `,"state":${JSON.stringify(state)}`;
  const instanceMember = instance ? `,"instance":${serializeInstance(instance)}` : '';
  const cordonMember = cordon ? `,"cordon":${serializeCordon(cordon)}` : '';
  const weightMember = weight === 1 ? '' : `,"weight":${weight}`;
  const loadMember = load ? `,"load":${serializeLoad(load)}` : '';
  const members = `"ttl":${ttlMs / 1000}${stateMember}${instanceMember}${cordonMember}${weightMember}${loadMember}`;
  return `${createListEntry(replica).entry.slice(0, -1)},${members}}`;
}

/** Parses a list entry from the exact JSON reader. Returns undefined for anything else. */
export function parseReplica(entry: Json): Replica | undefined {
  if (!isJsonObject(entry)) return undefined;
  const id = entry.get('replica_id');
  const endpoint = entry.get('endpoint');
  const capabilities = entry.get('capabilities');
  if (typeof id !== 'string' || typeof endpoint !== 'string' || !Array.isArray(capabilities)) return undefined;
  return {
    id: asReplicaId(id),
    endpoint: asEndpoint(endpoint),
    capabilities: parseCapabilities(capabilities.filter(isJsonObject)),
  };
}

/** Parses a list entry from `JSON.parse`. Returns undefined for anything else. */
export function parsePlainReplica(entry: PlainJson): Replica | undefined {
  if (!isPlainObject(entry)) return undefined;
  const { replica_id: id, endpoint, capabilities } = entry;
  if (typeof id !== 'string' || typeof endpoint !== 'string' || !Array.isArray(capabilities)) return undefined;
  return {
    id: asReplicaId(id),
    endpoint: asEndpoint(endpoint),
    capabilities: capabilities.filter(isPlainObject).map(toCapability),
  };
}

function toCapability(object: PlainObject): Capability {
  const pairs: string[] = [];
  for (const [key, value] of Object.entries(object)) {
    if (typeof value !== 'object') pairs.push(key, String(value));
  }
  return { pairs, source: JSON.stringify(object) };
}
