import { ApiClient } from '../../src/client/api-client.js';
import type { ServerAccess } from '../../src/client/api-servers.js';
import type { ServerAddress } from '../../src/client/server-list.js';
import { clock } from '../../src/system.js';

/** Creates a client of the API servers with these URLs, with the system clock. */
export function createApiClient(servers: string | readonly string[], access: ServerAccess = {}): ApiClient {
  return new ApiClient({ servers: [servers].flat(), clock, ...access });
}

/** Returns the API server with this URL, for requests to one server. */
export function toServer(url: string): ServerAddress {
  return { name: url, url, address: undefined };
}

/** Lists the replicas of all API servers, as `GET /registry` describes them. */
export async function listReplicas(api: ApiClient) {
  const { replicas } = await api.listReplicas();
  return replicas.map(({ listed }) => listed.replica);
}
