import { serializeRegistryResponse } from '../../src/api/api-responses.js';
import type { ListedReplica } from '../../src/api/replica-list-json.js';
import { PageSerializer } from '../../src/api/serialized-page.js';
import { SerializedReplica } from '../../src/api/serialized-replica.js';
import { type CapabilityQuery, createPairs } from '../../src/core/capability.js';
import { asEndpoint, asInstanceId, asLeaseId, asRegistryId, asReplicaId, asServerId } from '../../src/core/ids.js';
import { PreparedQuery } from '../../src/core/index/prepared-query.js';
import type { CallEvent, Events, Ids, Log, RegistryEvent, ServerEvent } from '../../src/core/ports.js';
import type { Registration, Replica } from '../../src/core/replica.js';
import type { ReplicaPage } from '../../src/core/replica-pages.js';
import { createCapability, type ScalarPairs } from '../../src/json/capability-json.js';

/** Id of the registry of a test's store. */
export const TEST_REGISTRY = asRegistryId('registry');

/** Creates a replica with this id and these capabilities. */
export function replica(id: string, ...capabilities: ScalarPairs[]): Replica {
  return {
    id: asReplicaId(id),
    endpoint: asEndpoint(`${id}.test:50051`),
    capabilities: capabilities.map(createCapability),
  };
}

/** Returns the replica with another endpoint. */
export function withEndpoint(of: Replica, endpoint: string): Replica {
  return { ...of, endpoint: asEndpoint(endpoint) };
}

/** Creates the same replica as the API server's registry has it. */
export function serializedReplica(id: string, ...capabilities: ScalarPairs[]): SerializedReplica {
  return new SerializedReplica(replica(id, ...capabilities));
}

/** Creates a registration of a replica under this lease. */
export function registration<R extends Replica>(lease: string, of: R): Registration<R> {
  return {
    lease: asLeaseId(lease),
    owner: asServerId('server'),
    ownerUrl: undefined,
    instance: undefined,
    replica: of,
    state: 'ready',
    sinceEpochMs: 0,
    cordon: undefined,
    weight: 1,
  };
}

/** Creates a row of a server's list. */
export function listReplica(of: Replica, row: Partial<ListedReplica> = {}): ListedReplica {
  return {
    replica: of,
    state: 'ready',
    stateAgeMs: 0,
    lastSeenAgeMs: 0,
    instance: undefined,
    cordon: undefined,
    weight: 1,
    load: undefined,
    toText: () => '',
    ...row,
  };
}

/** Creates an id source that counts: lease-1, lease-2, server-1. */
export function createCountingIds(): Ids {
  let leases = 0;
  let servers = 0;
  let instances = 0;
  return {
    createLeaseId: () => asLeaseId(`lease-${++leases}`),
    createServerId: () => asServerId(`server-${++servers}`),
    createRegistryId: () => TEST_REGISTRY,
    createInstanceId: () => asInstanceId(`instance-${++instances}`),
  };
}

/** Creates a log that stores its lines in an array. */
export function createRecordingLog(): Log & { readonly lines: string[] } {
  const lines: string[] = [];
  const keep = (line: string): void => void lines.push(line);
  return { lines, info: keep, warn: keep };
}

/** Creates an event sink that stores all events in an array. */
export function createRecordingEvents(): Events & { readonly all: (RegistryEvent | ServerEvent | CallEvent)[] } {
  const all: (RegistryEvent | ServerEvent | CallEvent)[] = [];
  return { all, emit: (event) => void all.push(event) };
}

/** Creates a query from pairs. */
export function query(pairs: Readonly<Record<string, string>> = {}): CapabilityQuery {
  return createPairs(Object.entries(pairs));
}

/** Creates a prepared query from pairs. */
export function prepareQuery(pairs: Readonly<Record<string, string>> = {}): PreparedQuery {
  return new PreparedQuery(query(pairs));
}

/** Creates a page of these registrations. */
export function listPage<R extends Replica>(registrations: readonly Registration<R>[]): ReplicaPage<R> {
  return { id: 1, registrations, revisions: registrations.map((_, n) => n) };
}

/** Returns the body of `GET /registry` for these replicas. */
export function formatReplicaList(replicas: readonly Replica[]): string {
  const page = listPage(replicas.map((one) => registration('lease', new SerializedReplica(one))));
  return Buffer.concat([...serializeRegistryResponse([page], new PageSerializer())]).toString();
}
