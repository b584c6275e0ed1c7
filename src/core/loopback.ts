import { lacksPort, parseEndpoint } from './endpoint.js';
import { isLoopbackHost, parseHost } from './host.js';
import type { Endpoint } from './ids.js';

/** Whether a host name or address, with or without brackets, means the machine of whoever reads it. */
export function isLoopback(host: string): boolean {
  const parsed = parseHost(host.includes(':') && !host.startsWith('[') ? `[${host}]` : host);
  return parsed !== undefined && isLoopbackHost(parsed);
}

/** Why callers will not reach a replica at an endpoint that a peer has registered; undefined when there is no such reason. */
export function getEndpointWarning(endpoint: Endpoint, peer: string): string | undefined {
  const parts = parseEndpoint(endpoint);
  if (!parts) return undefined;
  const isLocal = parts.kind === 'unix' || isLoopbackHost(parts.host);
  if (isLocal && !isLoopback(peer)) return 'callers take it for their own machine; register another address';
  return lacksPort(parts) ? 'it has no port for callers to dial; register HOST:PORT' : undefined;
}
