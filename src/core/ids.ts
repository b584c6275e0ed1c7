import { AnyserveError } from './errors.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** The name a replica registers under; chosen by the replica, unique in the list. */
export type ReplicaId = Branded<'ReplicaId'>;

/** The name of one registration, not of one replica: a replica that registers again gets a new lease. */
export type LeaseId = Branded<'LeaseId'>;

/** Where a replica takes calls, as it registered it: `host:port`, `[v6]:port`, `unix:PATH` or `dns:host:port`. */
export type Endpoint = Branded<'Endpoint'>;

const MAX_REPLICA_ID_BYTES = 128;
const MAX_ENDPOINT_BYTES = 256;

const utf8 = new TextEncoder();

/** The length of a text in UTF-8 bytes, which is what every limit on a text counts. */
export function utf8Length(text: string): number {
  return utf8.encode(text).length;
}

/** A replica's id; throws `unprocessable` when it is longer than 128 bytes. */
export function parseReplicaId(text: string): ReplicaId {
  if (utf8Length(text) > MAX_REPLICA_ID_BYTES) {
    throw new AnyserveError('unprocessable', `a replica id has at most ${MAX_REPLICA_ID_BYTES} bytes`);
  }
  return text as ReplicaId;
}

/** A lease's id, as the one who grants leases makes it. */
export function parseLeaseId(text: string): LeaseId {
  return text as LeaseId;
}

/**
 * An endpoint as a registration may carry it. The registry hands it on and never dials it, so any text of at most
 * 256 bytes without control characters will do; whoever dials it reads it with {@link parseDialable}.
 */
export function parseEndpoint(text: string): Endpoint {
  if (utf8Length(text) > MAX_ENDPOINT_BYTES) {
    throw new AnyserveError('unprocessable', `an endpoint has at most ${MAX_ENDPOINT_BYTES} bytes`);
  }
  if (hasControlCharacter(text)) {
    throw new AnyserveError('unprocessable', 'an endpoint has no control characters');
  }
  return text as Endpoint;
}

const HOST_AND_PORT = /^(?:dns:(?:\/\/\/)?)?(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/;
const UNIX_PATH = /^unix:[^\s]+$/;

/** An endpoint that can be dialled: `host:port`, `[v6]:port`, `unix:PATH` or `dns:host:port`. Throws `invalid_argument`. */
export function parseDialable(text: string): Endpoint {
  const match = HOST_AND_PORT.exec(text);
  const port = Number(match?.[2]);
  if (UNIX_PATH.test(text) || (match && port >= 1 && port <= 65535)) return text as Endpoint;
  throw new AnyserveError(
    'invalid_argument',
    `${JSON.stringify(text)} is not an endpoint; give HOST:PORT, [IPV6]:PORT or unix:PATH`,
  );
}

/**
 * An endpoint to tell others: one that can be dialled, and not an address that only means something to a listener
 * (`0.0.0.0`, `[::]`). Throws `invalid_argument`.
 */
export function parseAdvertised(text: string): Endpoint {
  const endpoint = parseDialable(text);
  const host = HOST_AND_PORT.exec(text)?.[1];
  if (host === '0.0.0.0' || (host?.startsWith('[') && /^[0:]+$/.test(host.slice(1, -1)))) {
    throw new AnyserveError(
      'invalid_argument',
      `${text} names every address of this machine and none that others can call; give a host name or one address`,
    );
  }
  return endpoint;
}

function hasControlCharacter(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit < 0x20 || unit === 0x7f) return true;
  }
  return false;
}
