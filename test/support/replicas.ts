import { serializeRegistryResponse } from '../../src/api/api-responses.js';
import { type CapabilityQuery, createPairs } from '../../src/core/capability.js';
import { asEndpoint, asLeaseId, asReplicaId, asServerId } from '../../src/core/ids.js';
import { PreparedQuery } from '../../src/core/index/prepared-query.js';
import type { CallEvent, Events, Ids, Log, RegistryEvent, ServerEvent } from '../../src/core/ports.js';
import type { Registration, Replica } from '../../src/core/replica.js';
import { createCapability, type ScalarPairs } from '../../src/json/capability-json.js';

/** A replica of this id with these capability objects. */
export function replica(id: string, ...capabilities: ScalarPairs[]): Replica {
  return {
    id: asReplicaId(id),
    endpoint: asEndpoint(`${id}.test:50051`),
    capabilities: capabilities.map(createCapability),
  };
}

/** A registration of a replica under a lease. */
export function registration(lease: string, of: Replica): Registration {
  return { lease: asLeaseId(lease), owner: asServerId('server'), replica: of, state: 'ready', sinceEpochMs: 0 };
}

/** Lease ids in order: lease-1, lease-2. */
export function countingIds(): Ids {
  let leases = 0;
  let servers = 0;
  return {
    lease: () => asLeaseId(`lease-${++leases}`),
    server: () => asServerId(`server-${++servers}`),
  };
}

/** A log that keeps its lines. */
export function keptLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (line: string): void => void lines.push(line);
  return { lines, info: keep, warn: keep };
}

/** An event sink that keeps what is emitted. */
export function keptEvents(): Events & { readonly all: (RegistryEvent | ServerEvent | CallEvent)[] } {
  const all: (RegistryEvent | ServerEvent | CallEvent)[] = [];
  return { all, emit: (event) => void all.push(event) };
}

/** A query from pairs. */
export function query(pairs: Readonly<Record<string, string>> = {}): CapabilityQuery {
  return createPairs(Object.entries(pairs));
}

/** A prepared query from pairs. */
export function preparedQuery(pairs: Readonly<Record<string, string>> = {}): PreparedQuery {
  return new PreparedQuery(query(pairs));
}

/** The body of `GET /registry` for these replicas. */
export function listText(replicas: readonly Replica[]): string {
  const registrations = replicas.map((one) => registration('lease', one));
  return Buffer.concat([...serializeRegistryResponse([{ registrations, place: {} }])]).toString();
}
