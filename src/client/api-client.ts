import {
  NO_MATCH_DETAIL,
  parseErrorDetail,
  parseRegistryResponse,
  parseRouteResponse,
  type RouteResponse,
  WARMING_HEADER,
} from '../api/api-responses.js';
import { EXCLUDE_HEADER, formatExcludeHeader, serializeQuery } from '../api/query.js';
import { type ListedReplica, parseReplicaList, REPLICA_ID_PARAMETER } from '../api/replica-list-json.js';
import type { CapabilityQuery } from '../core/capability.js';
import type { ReplicaId } from '../core/ids.js';
import type { Replica } from '../core/replica.js';
import { type ApiRequestOptions, ApiServers, type ServerAccess } from './api-servers.js';
import { LeaseClient } from './lease-client.js';

/** Timeout for the body of a list, in ms: a slow link needs it for many replicas. */
const LIST_TIMEOUT_MS = 30_000;

/** Maximum size of a route: an endpoint and an id. */
const MAX_ROUTE_BYTES = 64 * 1024;

/** Maximum size of a list. 100,000 replicas with one capability take 15 MB, or 26 MB with all their details. */
const MAX_LIST_BYTES = 64 * 1024 * 1024;

const LIST = { maxBytes: MAX_LIST_BYTES, bodyTimeoutMs: LIST_TIMEOUT_MS };

/** Result of asking for a route. While `isWarming`, replicas can still be on their way back to the server. */
export type RouteResult =
  | { readonly kind: 'found'; readonly route: RouteResponse }
  | { readonly kind: 'none'; readonly isWarming: boolean };

/** Client of the HTTP API, for one or several API servers. */
export class ApiClient {
  readonly leases: LeaseClient;
  readonly #servers: ApiServers;

  /** Throws `usage` for a server that has no `http://` or `https://` URL. */
  constructor(servers: readonly string[], access: ServerAccess = {}) {
    this.#servers = new ApiServers(servers, access);
    this.leases = new LeaseClient(this.#servers);
  }

  /** Finds a replica that matches. Rejects with `server_unreachable`. */
  async route(
    query: CapabilityQuery,
    excluded: Iterable<ReplicaId> = [],
    ask: ApiRequestOptions = {},
  ): Promise<RouteResult> {
    const search = serializeQuery(query);
    const header = formatExcludeHeader(excluded);
    return this.#servers.ask<RouteResult>({
      ...ask,
      path: `/route${search && `?${search}`}`,
      headers: header ? { [EXCLUDE_HEADER]: header } : {},
      maxBytes: MAX_ROUTE_BYTES,
      parse: (status, body, headers) => {
        if (status === 404 && parseErrorDetail(body) === NO_MATCH_DETAIL) {
          return { value: { kind: 'none', isWarming: headers[WARMING_HEADER] !== undefined } };
        }
        const route = status === 200 ? parseRouteResponse(body) : undefined;
        return route && { value: { kind: 'found', route } };
      },
    });
  }

  /** Lists all replicas, in the order of registration. Rejects with `server_unreachable`. */
  async replicas(ask: ApiRequestOptions = {}): Promise<Replica[]> {
    return this.#list('/registry', parseRegistryResponse, ask);
  }

  /** Lists all replicas with all details, also those that are not routable. Rejects with `server_unreachable`. */
  async list(ask: ApiRequestOptions = {}, filter = ''): Promise<ListedReplica[]> {
    const listed = await this.#servers.ask<ListedReplica[] | undefined>({
      ...ask,
      ...LIST,
      path: `/replicas${filter}`,
      parse: (status, body) => {
        // The Python server has no such list.
        if (status === 404) return { value: undefined };
        const replicas = status === 200 ? parseReplicaList(body) : undefined;
        return replicas && { value: replicas };
      },
    });
    return listed ?? this.#list('/registry', parseReplicaList, ask);
  }

  /**
   * Returns the details of one replica; undefined when it is not listed. Asks a server that can't be asked for one
   * replica, such as the Python server, for all. Rejects with `server_unreachable`.
   */
  async find(id: ReplicaId, ask: ApiRequestOptions = {}): Promise<ListedReplica | undefined> {
    const listed = await this.list(ask, `?${REPLICA_ID_PARAMETER}=${encodeURIComponent(id.toWellFormed())}`);
    return listed.find(({ replica }) => replica.id === id);
  }

  /** Reports whether a server answers at all. */
  isAlive(server: string, signal: AbortSignal): Promise<boolean> {
    return this.#servers.isAlive(server, signal);
  }

  /** Number of servers. */
  get serverCount(): number {
    return this.#servers.count;
  }

  /** Closes every connection. */
  close(): void {
    this.#servers.close();
  }

  #list<T>(path: string, parseBody: (text: string) => T[] | undefined, ask: ApiRequestOptions): Promise<T[]> {
    return this.#servers.ask<T[]>({
      ...ask,
      ...LIST,
      path,
      parse: (status, body) => {
        const list = status === 200 ? parseBody(body) : undefined;
        return list && { value: list };
      },
    });
  }
}
