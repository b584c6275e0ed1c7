import { lacksPort, parseEndpoint } from './endpoint.js';
import { isLoopbackHost, parseHost } from './host.js';
import type { Endpoint } from './ids.js';

/** Returns whether a host name or address, with or without brackets, is a loopback host. */
export function isLoopback(host: string): boolean {
  const parsed = parseHost(host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);
  return parsed !== undefined && isLoopbackHost(parsed);
}

/** Returns why callers probably cannot reach an endpoint that a peer registers; undefined if it looks reachable. */
export function getEndpointWarning(endpoint: Endpoint, peer: string): string | undefined {
  const parts = parseEndpoint(endpoint);
  if (!parts) return undefined;
  const isLocal = parts.kind === 'unix' || isLoopbackHost(parts.host);
  if (isLocal && !isLoopback(peer))
    return 'for callers this address means their own machine; register an address that they can reach';
  return lacksPort(parts) ? 'it has no port; register HOST:PORT' : undefined;
}
