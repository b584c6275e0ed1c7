import type { IncomingHttpHeaders } from 'node:http';
import {
  NO_MATCH_DETAIL,
  parseErrorDetail,
  parseRegistryResponse,
  parseRouteResponse,
  WARMING_HEADER,
} from '../api/api-responses.js';
import { PROTOCOL_HEADER, readProtocolHeader } from '../api/protocol-header.js';
import { EXCLUDE_HEADER, formatExcludeHeader, serializeQuery } from '../api/query.js';
import { OPEN_REGISTRATION, REGISTRATION_HEADER } from '../api/registration.js';
import { type ListedReplica, parseReplicaList, REPLICA_ID_PARAMETER } from '../api/replica-list-json.js';
import { SELECTOR_HEADER } from '../api/selector-header.js';
import type { CapabilityQuery } from '../core/capability.js';
import type { ReplicaId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import { hasProtocol } from '../core/protocol.js';
import type { ReplicaFilter } from '../core/replica-filter.js';
import { EMPTY_SELECTOR } from '../core/selector.js';
import {
  type ApiRequest,
  type ApiRequestOptions,
  ApiServers,
  getRegistryId,
  type ServerAccess,
} from './api-servers.js';
import { CordonClient } from './cordon-client.js';
import { EventClient } from './event-client.js';
import { ExplanationClient } from './explanation-client.js';
import { LeaseClient } from './lease-client.js';
import { dropSameRegistry, type MergedList, mergeLists, type ServerReplicas } from './merged-list.js';
import {
  chooseListed,
  formatSelectionHeaders,
  mergeRouteResults,
  needsConfirmation,
  type RouteResult,
  type RouteSelection,
} from './route-selection.js';
import { type ResolveHost, type ServerAddress, ServerList } from './server-list.js';
import { createWatchStream, type WatchStream } from './watch-stream.js';

/** Timeout for the body of a list, in ms. A list of many replicas takes a long time over a slow link. */
const LIST_TIMEOUT_MS = 30_000;

/** Maximum size of a route response, which has an endpoint and an id. */
const MAX_ROUTE_BYTES = 64 * 1024;

/** Maximum size of a list. 100,000 replicas with one capability each take 15 MB, or 26 MB with all their details. */
const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** Options of a route request. */
export interface RouteOptions extends ApiRequestOptions {
  readonly selection?: RouteSelection | undefined;
}

/** Options of an {@link ApiClient}. */
export interface ApiClientOptions extends ServerAccess {
  /** URLs of the API servers. A host name with several addresses stands for several servers. */
  readonly servers: readonly string[];
  readonly clock: Clock;
  /** Resolves host names. Default: the resolver of the operating system. */
  readonly resolveHost?: ResolveHost | undefined;
}

/** Client of the HTTP API of one or several API servers. */
export class ApiClient {
  /** The API servers. */
  readonly servers: ServerList;
  readonly leases: LeaseClient;
  readonly cordons: CordonClient;
  readonly events: EventClient;
  readonly explanations: ExplanationClient;
  readonly #servers: ApiServers;
  readonly #clock: Clock;

  /** Throws `usage` for a server whose URL isn't `http://` or `https://`. */
  constructor({ servers, clock, resolveHost, ...access }: ApiClientOptions) {
    this.servers = new ServerList(servers, clock, resolveHost);
    this.#servers = new ApiServers(this.servers, clock, access);
    this.#clock = clock;
    this.leases = new LeaseClient(this.#servers, clock);
    this.cordons = new CordonClient(this.#servers);
    this.events = new EventClient(this.#servers, clock);
    this.explanations = new ExplanationClient(this.#servers, (server, signal) => this.#listDetails(server, '', signal));
  }

  /** Returns the current token for a server. */
  getToken(server: ServerAddress): string | undefined {
    return this.#servers.getToken(server);
  }

  /**
   * Finds a replica that matches the query and isn't excluded. The first match of any server is taken; `none` is the result
   * only after all servers that respond have no match. Chooses from the list of a server that ignores selectors or protocols, such
   * as the Python server. Rejects with `server_unreachable`.
   */
  async route(
    query: CapabilityQuery,
    excluded: Iterable<ReplicaId> = [],
    options: RouteOptions = {},
  ): Promise<RouteResult> {
    const search = serializeQuery(query);
    const header = formatExcludeHeader(excluded);
    const { selection } = options;
    const mustConfirm = selection !== undefined && needsConfirmation(selection);
    const request: ApiRequest<RouteResult | typeof SELECTION_IGNORED> = {
      path: `/route${search && `?${search}`}`,
      headers: { ...(header && { [EXCLUDE_HEADER]: header }), ...(selection && formatSelectionHeaders(selection)) },
      maxBytes: MAX_ROUTE_BYTES,
      timeoutMs: options.timeoutMs,
      parse: (status, body, headers) => {
        const result = parseRouteResult(status, body, headers);
        if (result?.value.kind !== 'found') return result;
        const isSelected = !mustConfirm || headers[SELECTOR_HEADER] !== undefined;
        const isRight = isSelected && hasProtocol(result.value.route.endpoint, selection?.protocol);
        return isRight ? result : { value: SELECTION_IGNORED };
      },
    };
    const isFound = ({ kind }: RouteResult): boolean => kind === 'found';
    const results = await this.#servers.askUntil<RouteResult>(isFound, options, async (server, signal) => {
      const result = await this.#servers.get(server, request, signal);
      if (result !== SELECTION_IGNORED || !selection) return result as RouteResult;
      const { replicas } = await this.#listDetails(server, '', signal);
      const filter = { query, selector: selection.selector };
      return chooseListed(replicas, filter, selection, new Set(excluded));
    });
    return mergeRouteResults(results);
  }

  /** Lists the ids of the routable replicas of one server. Rejects with `server_unreachable`. */
  async listIds(server: ServerAddress, signal: AbortSignal): Promise<ReplicaId[]> {
    const replicas = await this.#servers.get(server, createListRequest('/registry', parseRegistryResponse), signal);
    return replicas.map(({ id }) => id);
  }

  /**
   * Lists the replicas of all servers with all details, including those that aren't routable. Rejects with
   * `server_unreachable` if no server responds.
   */
  async listReplicas(options: ApiRequestOptions = {}, filter = ''): Promise<MergedList> {
    const { responses, failures } = await this.#servers.askAll(options, (server, signal) =>
      this.#listDetails(server, filter, signal),
    );
    const lists = dropSameRegistry(responses.map(({ server, value }) => ({ server, ...value })));
    return { replicas: mergeLists(lists), serverCount: lists.length + failures.length, failures };
  }

  /**
   * Returns the details of one replica, or undefined when no server lists it. Gets the whole list from a server that can't
   * filter by id, such as the Python server. Rejects with `server_unreachable` if no server responds.
   */
  async findReplica(id: ReplicaId, options: ApiRequestOptions = {}): Promise<ListedReplica | undefined> {
    const { replicas } = await this.listReplicas(
      options,
      `?${REPLICA_ID_PARAMETER}=${encodeURIComponent(id.toWellFormed())}`,
    );
    return replicas.find(({ listed }) => listed.replica.id === id)?.listed;
  }

  /** Returns whether a server says that everyone who reaches it can register replicas. Rejects if no server responds. */
  async hasOpenRegistration(): Promise<boolean> {
    const { responses } = await this.#servers.askAll({}, (server, signal) => this.#servers.checkHealth(server, signal));
    return responses.some(({ value }) => value.headers[REGISTRATION_HEADER] === OPEN_REGISTRATION);
  }

  /** Returns whether a server responds to `GET /health`, with any status. */
  isAlive(server: ServerAddress, signal: AbortSignal): Promise<boolean> {
    return this.#servers.checkHealth(server, signal).then(
      () => true,
      () => false,
    );
  }

  /**
   * Requests the list of one server, without details if it has none. Rejects with `server_unreachable`. The process can exit
   * meanwhile.
   */
  async fetchList(
    server: ServerAddress,
    signal: AbortSignal,
  ): Promise<{ readonly replicas: readonly ListedReplica[]; readonly bytes: number }> {
    let bytes = 0;
    const request = createListRequest('/registry', (body) => {
      bytes = body.length;
      return parseReplicaList(body);
    });
    const background = { ...request, isBackground: true };
    return { replicas: await this.#servers.get(server, background, signal), bytes };
  }

  /**
   * Creates a watch of the replicas of one server that match the query, the selector and the protocol. With `isBackground`, the process can
   * exit meanwhile.
   */
  watch(
    server: ServerAddress,
    query: CapabilityQuery,
    { isBackground = false, selector = EMPTY_SELECTOR, protocol }: WatchOptions = {},
  ): WatchStream {
    const filter = { query, selector, protocol };
    return createWatchStream(filter, { servers: this.#servers, server, clock: this.#clock, isBackground });
  }

  /** Closes all connections. */
  close(): void {
    this.#servers.close();
  }

  /** Lists the replicas of one server. The Python server has only the list without details. */
  async #listDetails(server: ServerAddress, filter: string, signal: AbortSignal): Promise<RegistryList> {
    const plain = createListRequest('/registry', parseRegistryList);
    const detailed: ApiRequest<RegistryList | undefined> = {
      ...plain,
      path: `/replicas${filter}`,
      parse: (status, ...rest) => (status === 404 ? { value: undefined } : plain.parse(status, ...rest)),
    };
    return (await this.#servers.get(server, detailed, signal)) ?? this.#servers.get(server, plain, signal);
  }
}

/** Result of a route request to a server that ignored the selector or the protocol. */
const SELECTION_IGNORED = 'selection ignored';

/** Options of {@link ApiClient.watch}. */
interface WatchOptions extends Partial<Pick<ReplicaFilter, 'selector' | 'protocol'>> {
  readonly isBackground?: boolean;
}

/** The list of one server. */
type RegistryList = Omit<ServerReplicas, 'server'>;

function parseRegistryList(text: string, headers: IncomingHttpHeaders): RegistryList | undefined {
  const replicas = parseReplicaList(text);
  return replicas && { replicas, registryId: getRegistryId({ headers }) };
}

function parseRouteResult(
  status: number,
  body: string,
  headers: IncomingHttpHeaders,
): { readonly value: RouteResult } | undefined {
  if (status === 404 && parseErrorDetail(body) === NO_MATCH_DETAIL) {
    const otherProtocol = readProtocolHeader(headers[PROTOCOL_HEADER]);
    return { value: { kind: 'none', isWarming: headers[WARMING_HEADER] !== undefined, otherProtocol } };
  }
  const route = status === 200 ? parseRouteResponse(body) : undefined;
  return route && { value: { kind: 'found', route } };
}

function createListRequest<T>(
  path: string,
  parseBody: (text: string, headers: IncomingHttpHeaders) => T | undefined,
): ApiRequest<T> {
  return {
    path,
    maxBytes: MAX_LIST_BYTES,
    bodyTimeoutMs: LIST_TIMEOUT_MS,
    parse: (status, body, headers) => {
      const list = status === 200 ? parseBody(body, headers) : undefined;
      return list && { value: list };
    },
  };
}
