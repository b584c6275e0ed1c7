import { AnyserveError } from './errors.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** The name a replica registers under; chosen by the replica, unique in the list. */
export type ReplicaId = Branded<'ReplicaId'>;

/** The name of one registration, not of one replica: a replica that registers again gets a new lease. */
export type LeaseId = Branded<'LeaseId'>;

/** The id of one API server, new at every start. */
export type ServerId = Branded<'ServerId'>;

/** Where a replica takes calls, as it registered it; `core/endpoint` has the forms. */
export type Endpoint = Branded<'Endpoint'>;

/** The longest replica id that can be registered, in UTF-8 bytes. */
export const MAX_REPLICA_ID_BYTES = 128;

const utf8 = new TextEncoder();

/** Length of a text in UTF-8 bytes. */
export function countUtf8Bytes(text: string): number {
  return utf8.encode(text).length;
}

/** Whether a text has more UTF-8 bytes than this, which are what every limit on a text counts. Most are far from it. */
export function isLongerThan(maxBytes: number, text: string): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && countUtf8Bytes(text) > maxBytes;
}

/** An id to register. Throws `usage` when it is empty or longer than 128 bytes. */
export function parseReplicaId(text: string): ReplicaId {
  if (text !== '' && !isLongerThan(MAX_REPLICA_ID_BYTES, text)) return text as ReplicaId;
  throw new AnyserveError('usage', `a replica id has 1 to ${MAX_REPLICA_ID_BYTES} bytes, not ${countUtf8Bytes(text)}`);
}

/** Longest part of a host name in a default replica id, in characters. */
const MAX_HOST_NAME = 64;

/** Makes the id of a replica that is given none: readable, and another one in each process. */
export function createReplicaId(
  { hostName, instance }: { readonly hostName: string; readonly instance: string },
  port: number | string,
): string {
  return `${hostName.slice(0, MAX_HOST_NAME)}-${port}-${instance}`;
}

/** A text that names a replica on the word of whoever sent it, in a list or in a query. */
export function asReplicaId(text: string): ReplicaId {
  return text as ReplicaId;
}

/** A text that names a lease on the word of whoever granted it. */
export function asLeaseId(text: string): LeaseId {
  return text as LeaseId;
}

/** A text that names an API server, from its own ids or from a store. */
export function asServerId(text: string): ServerId {
  return text as ServerId;
}

/** An endpoint as the list carries it. It is handed on unread; the caller that dials it reads it with `parseDialable`. */
export function asEndpoint(text: string): Endpoint {
  return text as Endpoint;
}
