import { AnyserveError } from './errors.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** Id of a replica, which the replica chooses. It is unique in the registry. */
export type ReplicaId = Branded<'ReplicaId'>;

/** Id of one registration. A replica that registers again gets a new lease. */
export type LeaseId = Branded<'LeaseId'>;

/** Id of one API server. It is new at every start. */
export type ServerId = Branded<'ServerId'>;

/** Id of a registry. API servers that share a store share it. */
export type RegistryId = Branded<'RegistryId'>;

/** Id of one process that registers a replica. */
export type InstanceId = Branded<'InstanceId'>;

/** Address at which a replica takes calls, as registered. `core/endpoint` defines the forms. */
export type Endpoint = Branded<'Endpoint'>;

/** Maximum length of a replica id, in UTF-8 bytes. */
export const MAX_REPLICA_ID_BYTES = 128;

const utf8 = new TextEncoder();

/** Returns the length of a string in UTF-8 bytes. */
export function countUtf8Bytes(text: string): number {
  return utf8.encode(text).length;
}

/** Returns whether a string has more UTF-8 bytes than the limit. Encodes the string only if its length is close to the limit. */
export function isLongerThan(maxBytes: number, text: string): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && countUtf8Bytes(text) > maxBytes;
}

/** Parses an id to register. Throws `usage` if it is empty or longer than 128 bytes. */
export function parseReplicaId(text: string): ReplicaId {
  if (text !== '' && !isLongerThan(MAX_REPLICA_ID_BYTES, text)) return text as ReplicaId;
  throw new AnyserveError(
    'usage',
    `a replica id must have 1 to ${MAX_REPLICA_ID_BYTES} bytes; this one has ${countUtf8Bytes(text)}`,
  );
}

/** Maximum length of the host name in a default replica id, in UTF-16 units. */
const MAX_HOST_NAME_IN_ID = 64;

/** Creates the default id of a replica: `HOST-PORT-INSTANCE`. It is readable, and different in each process. */
export function createReplicaId(
  { hostName, instance }: { readonly hostName: string; readonly instance: string },
  port: number | string,
): string {
  return `${hostName.slice(0, MAX_HOST_NAME_IN_ID)}-${port}-${instance}`;
}

/** Casts a string from a list or a query to a replica id, without checks. */
export function asReplicaId(text: string): ReplicaId {
  return text as ReplicaId;
}

/** Casts a string from the granting server to a lease id, without checks. */
export function asLeaseId(text: string): LeaseId {
  return text as LeaseId;
}

/** Separates the API server's id in a lease id. */
const SERVER_SEPARATOR = '.';

/** Adds the API server that grants a lease to the lease's id, so that other servers know which one to ask about it. */
export function addServer(lease: LeaseId, server: ServerId): LeaseId {
  return `${lease}${SERVER_SEPARATOR}${server}` as LeaseId;
}

/** Returns the API server that {@link addServer} added to a lease id. Undefined if there is none. */
export function readServer(lease: LeaseId): ServerId | undefined {
  const end = lease.lastIndexOf(SERVER_SEPARATOR);
  return end < 0 ? undefined : (lease.slice(end + SERVER_SEPARATOR.length) as ServerId);
}

/** Casts a string to the id of an API server, without checks. */
export function asServerId(text: string): ServerId {
  return text as ServerId;
}

/** Casts a string to the id of a registry, without checks. */
export function asRegistryId(text: string): RegistryId {
  return text as RegistryId;
}

/** Casts a string to the id of an instance, without checks. */
export function asInstanceId(text: string): InstanceId {
  return text as InstanceId;
}

/** Casts a string to an endpoint, without checks. The caller that dials it checks it with `parseDialable`. */
export function asEndpoint(text: string): Endpoint {
  return text as Endpoint;
}
