import type { CapabilityQuery } from '../core/capability.js';
import { parseDialable } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import { toGetter } from '../core/options.js';
import type { Clock } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import { ApiClient } from './api-client.js';
import type { ClientOptions } from './client-options.js';
import { createCapabilityDiscovery, createFixedDiscovery, type Discovery } from './discovery.js';
import { StickyDiscovery } from './sticky-discovery.js';

const SYSTEM_TLS: ClientTls = {};

/** Returns a getter of the TLS settings for calls, or undefined for calls in plain text. */
export function getCallTls({ tls, callTls = tls !== undefined }: ClientOptions): (() => ClientTls) | undefined {
  return callTls ? (toGetter(tls) ?? (() => SYSTEM_TLS)) : undefined;
}

/** Creates the discovery for the options. Throws `usage`. */
export function createDiscovery(
  { endpoint, server, capability, token, tls }: ClientOptions,
  query: CapabilityQuery,
  clock: Clock,
): Discovery {
  const servers = typeof server === 'string' ? [server] : (server ?? []);
  if (endpoint !== undefined && servers.length > 0) {
    throw new AnyserveError(
      'usage',
      'give either an endpoint or a server: an endpoint is called without asking an API server',
    );
  }
  if (endpoint !== undefined) return createFixedDiscovery(parseDialable(endpoint));
  if (servers.length === 0)
    throw new AnyserveError('usage', 'no target: give an endpoint, or a server and a capability');
  if (capability === undefined) {
    throw new AnyserveError('usage', 'no capability: with a server, give one such as { type: "chat" }');
  }
  const api = new ApiClient({ servers, clock, token: toGetter(token), tls: toGetter(tls) });
  return new StickyDiscovery(createCapabilityDiscovery(api, query), clock);
}
