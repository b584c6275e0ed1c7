import { isIP, type LookupFunction } from 'node:net';
import { toSocketAddress } from '../core/endpoint.js';
import type { Endpoint } from '../core/ids.js';
import { type AddressCheck, createLookup } from '../http/engine-client/upstream-address.js';
import { NotStartedError } from './connection-errors.js';

/** Where a socket connects to. */
export type SocketTarget =
  | { readonly host: string; readonly port: number; readonly lookup?: LookupFunction }
  | { readonly path: string };

/** The address that a Unix domain socket counts as, when addresses are checked. */
const UNIX_SOCKET_ADDRESS = '127.0.0.1';

/**
 * Returns where sockets for an endpoint connect to. A host name is resolved when a socket connects, to addresses that are allowed.
 * Throws `unavailable` for an address that is not allowed. Default: all are.
 */
export function toSocketTarget(endpoint: Endpoint, checkAddress?: AddressCheck): SocketTarget {
  const address = toSocketAddress(endpoint);
  if (!checkAddress) return address;
  const isAllowed = (ip: string): boolean => checkAddress(ip, endpoint);
  if ('host' in address && isIP(address.host) === 0) return { ...address, lookup: createLookup(isAllowed) };
  if (isAllowed('path' in address ? UNIX_SOCKET_ADDRESS : address.host)) return address;
  const shown = 'path' in address ? 'sockets of this machine' : address.host;
  throw new NotStartedError('unavailable', `${endpoint}: connections to ${shown} are not allowed`);
}
