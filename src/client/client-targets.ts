import type { CapabilityQuery } from '../core/capability.js';
import { parseDialable } from '../core/endpoint.js';
import { AnyserveError } from '../core/errors.js';
import { toGetter, toTokenGetter } from '../core/options.js';
import type { Protocol } from '../core/protocol.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import { parseSelector } from '../core/selector-parser.js';
import type { ClientTls } from '../core/tls.js';
import { ApiClient } from './api-client.js';
import { Fleet } from './balancing/fleet.js';
import { createPicker } from './balancing/pickers/create-picker.js';
import { createPreference } from './balancing/preference.js';
import { ReplicaTable } from './balancing/replica-table.js';
import { TableDiscovery, type TableDiscoveryOptions } from './balancing/table-discovery.js';
import { TableFeeds } from './balancing/table-feeds.js';
import type { ClientEnvironment, ClientOptions, DiscoveryKind } from './client-options.js';
import { createFixedDiscovery, type Discovery, RouteDiscovery } from './discovery.js';

/** The protocol of all calls. Replicas with another one are left out, whatever a server responds. */
const PROTOCOL: Protocol = 'grpc';

const SYSTEM_TLS: ClientTls = {};

/** Returns a getter of the TLS settings for calls, or undefined for calls in plain text. */
export function getCallTls({ tls, callTls = tls !== undefined }: ClientOptions): (() => ClientTls) | undefined {
  return callTls ? (toGetter(tls) ?? (() => SYSTEM_TLS)) : undefined;
}

/** Creates the discovery for the options. `onRemoved` is called when the replica at an endpoint has left. Throws `usage`. */
export function createDiscovery(
  { endpoint, server, capability, where = '', prefer = '', token, tls, pick = 'p2c' }: ClientOptions,
  query: CapabilityQuery,
  world: ClientEnvironment,
  kind: DiscoveryKind,
  onRemoved: (endpoint: string) => void,
): Discovery {
  const picker = createPicker(pick, world.random);
  const [selector, preference] = [parseSelector(where, 'where'), parseSelector(prefer, 'prefer')];
  const servers = typeof server === 'string' ? [server] : (server ?? []);
  if (endpoint !== undefined && servers.length > 0) {
    throw new AnyserveError(
      'usage',
      'give either an endpoint or a server: an endpoint is called without asking an API server',
    );
  }
  if (endpoint !== undefined && (where !== '' || prefer !== '')) {
    throw new AnyserveError('usage', 'where and prefer choose among replicas that an API server lists; give a server');
  }
  if (endpoint !== undefined) return createFixedDiscovery(parseDialable(endpoint));
  if (servers.length === 0)
    throw new AnyserveError('usage', 'no target: give an endpoint, or a server and a capability');
  if (capability === undefined) {
    throw new AnyserveError('usage', 'no capability: with a server, give one such as { type: "chat" }');
  }
  const api = new ApiClient({ servers, clock: world.clock, token: toTokenGetter(token), tls: toGetter(tls) });
  const filter = { query, selector, protocol: PROTOCOL };
  const route = new RouteDiscovery(api, query, { selector, preference, protocol: PROTOCOL, random: world.random });
  if (kind === 'route') return route;
  const isPreferred = createPreference(filter, preference);
  return createTableDiscovery(api, filter, { fallback: route, picker, isPreferred }, world, onRemoved);
}

function createTableDiscovery(
  api: ApiClient,
  filter: ReplicaFilter,
  options: Pick<TableDiscoveryOptions, 'fallback' | 'picker' | 'isPreferred'>,
  { clock, random }: ClientEnvironment,
  onRemoved: (endpoint: string) => void,
): Discovery {
  const table = new ReplicaTable(clock, ({ replica }) => onRemoved(replica.endpoint));
  const feeds = new TableFeeds({ api, filter, table, clock, random });
  const source = new Fleet({ table, startTable: () => void feeds.run(), stopTable: () => feeds.stop(), clock });
  return new TableDiscovery({ source, ...options, clock });
}
