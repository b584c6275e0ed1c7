import { ApiClient } from '../../src/client/api-client.js';
import type { ServerAccess } from '../../src/client/api-servers.js';
import { sleep } from '../../src/client/async-waits.js';
import type { RouteResult } from '../../src/client/route-selection.js';
import type { ServerAddress } from '../../src/client/server-list.js';
import type { CapabilityQuery } from '../../src/core/capability.js';
import { clock } from '../../src/system.js';

/** Creates a client of the API servers with these URLs, with the system clock. */
export function createApiClient(servers: string | readonly string[], access: ServerAccess = {}): ApiClient {
  return new ApiClient({ servers: [servers].flat(), clock, ...access });
}

/** Returns the API server with this URL, for requests to one server. */
export function toServer(url: string): ServerAddress {
  return { name: url, url, address: undefined };
}

/** Time between two requests to API servers that are warming up, in ms. */
const WARMING_INTERVAL_MS = 200;

/**
 * Looks a replica up as the library does: if an API server that has just started responds, and the others are too slow to be
 * waited for, it asks again.
 */
export async function lookUp(api: ApiClient, wanted: CapabilityQuery): Promise<RouteResult> {
  const endAtMs = clock.nowMs() + 10_000;
  for (;;) {
    const found = await api.route(wanted);
    if (found.kind !== 'none' || !found.isWarming || clock.nowMs() > endAtMs) return found;
    await sleep(clock, WARMING_INTERVAL_MS);
  }
}

/** Lists the replicas of all API servers, as `GET /registry` describes them. */
export async function listReplicas(api: ApiClient) {
  const { replicas } = await api.listReplicas();
  return replicas.map(({ listed }) => listed.replica);
}
