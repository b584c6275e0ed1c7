import { AnyserveError } from './errors.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** The name a replica registers under; chosen by the replica, unique in the list. */
export type ReplicaId = Branded<'ReplicaId'>;

/** The name of one registration, not of one replica: a replica that registers again gets a new lease. */
export type LeaseId = Branded<'LeaseId'>;

/** Where a replica takes calls, as it registered it: `host:port`, `[v6]:port`, `unix:PATH` or `dns:host:port`. */
export type Endpoint = Branded<'Endpoint'>;

/** The longest replica id that can be registered, in UTF-8 bytes. */
export const MAX_REPLICA_ID_BYTES = 128;

const utf8 = new TextEncoder();

/** Whether a text has more UTF-8 bytes than this, which are what every limit on a text counts. Most are far from it. */
export function isLongerThan(maxBytes: number, text: string): boolean {
  if (text.length > maxBytes) return true;
  return text.length * 3 > maxBytes && utf8.encode(text).length > maxBytes;
}

/** An id to register. Throws `usage` when it is empty or longer than 128 bytes. */
export function parseReplicaId(text: string): ReplicaId {
  if (text !== '' && !isLongerThan(MAX_REPLICA_ID_BYTES, text)) return text as ReplicaId;
  throw new AnyserveError(
    'usage',
    `a replica id has 1 to ${MAX_REPLICA_ID_BYTES} bytes, not ${utf8.encode(text).length}`,
  );
}

/** A text that names a replica on the word of whoever sent it, in a list or in a query. */
export function asReplicaId(text: string): ReplicaId {
  return text as ReplicaId;
}

/** A text that names a lease on the word of whoever granted it. */
export function asLeaseId(text: string): LeaseId {
  return text as LeaseId;
}

/** An endpoint as the list carries it. It is handed on unread; whoever dials it reads it with {@link parseDialable}. */
export function asEndpoint(text: string): Endpoint {
  return text as Endpoint;
}

const HOST_AND_PORT = /^(?:dns:(?:\/\/\/)?)?(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/;
const UNIX_PATH = /^unix:[^\s\p{Cc}]+$/u;

/** An endpoint that can be dialled: `host:port`, `[v6]:port`, `unix:PATH` or `dns:host:port`. Throws `usage`. */
export function parseDialable(text: string): Endpoint {
  if (isDialable(text)) return text as Endpoint;
  throw new AnyserveError(
    'usage',
    `${JSON.stringify(text)} is not an endpoint; give HOST:PORT, [IPV6]:PORT or unix:PATH`,
  );
}

function isDialable(text: string): boolean {
  const port = Number(HOST_AND_PORT.exec(text)?.[2]);
  return UNIX_PATH.test(text) || (port >= 1 && port <= 65535);
}

/** A host, its letters of any script, with or without a port. */
const HOST = /^(?:dns:(?:\/\/\/)?)?(\[[0-9A-Fa-f:.%]+\]|[\p{L}\p{M}\p{N}._-]+)(?::(\d{1,5}))?$/u;

/**
 * Why an endpoint may not be registered; undefined when it may: one that can be dialled, or what the original takes
 * besides and is harmless, a host without a port, or with letters outside of ASCII. Anything else could tell the gRPC
 * library of whoever calls it more than where to call: another scheme, a list, a name server.
 */
export function endpointProblem(text: string): string | undefined {
  const [, host, port = '1'] = HOST.exec(text) ?? [];
  const isBare = host !== undefined && !text.startsWith('dns:') && Number(port) >= 1 && Number(port) <= 65535;
  if (!isBare && !isDialable(text)) return 'nobody can dial it; give HOST:PORT, [IPV6]:PORT or unix:PATH';
  return host !== undefined && isUnspecified(host) ? `it ${EVERY_ADDRESS}` : undefined;
}

/** Where an endpoint that can be dialled leads: a host and a port, or a path. */
export function addressOf(endpoint: Endpoint): { host: string; port: number } | { path: string } {
  // `unix:80` is a path, too, though it looks like a host and a port.
  const match = UNIX_PATH.test(endpoint) ? null : HOST_AND_PORT.exec(endpoint);
  if (!match) return { path: endpoint.slice('unix:'.length) };
  return { host: (match[1] as string).replace(/^\[|\]$/g, ''), port: Number(match[2]) };
}

const EVERY_ADDRESS =
  'names every address of its machine and none that others can call; give a host name or one address';

/** Whether an address names every address of a machine: it means something to who listens, and nothing to who calls. */
function isUnspecified(host: string): boolean {
  return /^(?:[0.]+|\[[0:]+\])$/.test(host);
}

/**
 * An endpoint to tell others: one that can be dialled, and not an address that only means something to a listener
 * (`0.0.0.0`, `[::]`). Throws `usage`.
 */
export function parseAdvertised(text: string): Endpoint {
  const endpoint = parseDialable(text);
  const host = HOST_AND_PORT.exec(text)?.[1];
  if (host !== undefined && isUnspecified(host)) {
    throw new AnyserveError('usage', `${text} ${EVERY_ADDRESS}`);
  }
  return endpoint;
}
