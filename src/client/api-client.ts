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

/** Timeout for the body of a list, in ms. A list of many replicas takes long over a slow link. */
const LIST_TIMEOUT_MS = 30_000;

/** Maximum size of a route response, which has an endpoint and an id. */
const MAX_ROUTE_BYTES = 64 * 1024;

/** Maximum size of a list. 100,000 replicas with one capability each take 15 MB, or 26 MB with all their details. */
const MAX_LIST_BYTES = 64 * 1024 * 1024;

const LIST_LIMITS = { maxBytes: MAX_LIST_BYTES, bodyTimeoutMs: LIST_TIMEOUT_MS };

/** Result of a route request. While `isWarming`, the server has just started and replicas can still be reconnecting. */
export type RouteResult =
  | { readonly kind: 'found'; readonly route: RouteResponse }
  | { readonly kind: 'none'; readonly isWarming: boolean };

/** Client of the HTTP API of one or several API servers. */
export class ApiClient {
  readonly leases: LeaseClient;
  readonly #servers: ApiServers;

  /** Throws `usage` for a server whose URL isn't `http://` or `https://`. */
  constructor(servers: readonly string[], access: ServerAccess = {}) {
    this.#servers = new ApiServers(servers, access);
    this.leases = new LeaseClient(this.#servers);
  }

  /** Finds a replica that matches the query and isn't excluded. Rejects with `server_unreachable`. */
  async route(
    query: CapabilityQuery,
    excluded: Iterable<ReplicaId> = [],
    options: ApiRequestOptions = {},
  ): Promise<RouteResult> {
    const search = serializeQuery(query);
    const header = formatExcludeHeader(excluded);
    return this.#servers.request<RouteResult>({
      ...options,
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
  async listReplicas(options: ApiRequestOptions = {}): Promise<Replica[]> {
    return this.#requestList('/registry', parseRegistryResponse, options);
  }

  /** Lists all replicas with all details, including those that aren't routable. Rejects with `server_unreachable`. */
  async listReplicaDetails(options: ApiRequestOptions = {}, filter = ''): Promise<ListedReplica[]> {
    const listed = await this.#servers.request<ListedReplica[] | undefined>({
      ...options,
      ...LIST_LIMITS,
      path: `/replicas${filter}`,
      parse: (status, body) => {
        // The Python server doesn't have this path.
        if (status === 404) return { value: undefined };
        const replicas = status === 200 ? parseReplicaList(body) : undefined;
        return replicas && { value: replicas };
      },
    });
    return listed ?? this.#requestList('/registry', parseReplicaList, options);
  }

  /**
   * Returns the details of one replica, or undefined when it isn't listed. Gets the whole list from a server that can't
   * filter by id, such as the Python server. Rejects with `server_unreachable`.
   */
  async findReplica(id: ReplicaId, options: ApiRequestOptions = {}): Promise<ListedReplica | undefined> {
    const listed = await this.listReplicaDetails(
      options,
      `?${REPLICA_ID_PARAMETER}=${encodeURIComponent(id.toWellFormed())}`,
    );
    return listed.find(({ replica }) => replica.id === id);
  }

  /** Returns whether a server responds to `GET /health`, with any status. */
  isAlive(server: string, signal: AbortSignal): Promise<boolean> {
    return this.#servers.isAlive(server, signal);
  }

  /** Number of servers. */
  get serverCount(): number {
    return this.#servers.count;
  }

  /** Closes all connections. */
  close(): void {
    this.#servers.close();
  }

  #requestList<T>(
    path: string,
    parseBody: (text: string) => T[] | undefined,
    options: ApiRequestOptions,
  ): Promise<T[]> {
    return this.#servers.request<T[]>({
      ...options,
      ...LIST_LIMITS,
      path,
      parse: (status, body) => {
        const list = status === 200 ? parseBody(body) : undefined;
        return list && { value: list };
      },
    });
  }
}
