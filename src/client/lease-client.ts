import type { Readable } from 'node:stream';
import { formatValidationIssues, parseErrorDetail } from '../api/api-responses.js';
import { parseReplacedHeader, REPLACED_HEADER, UNKNOWN_REGISTRY } from '../api/instance-json.js';
import { LEASE_PROTOCOL } from '../api/lease-events.js';
import { OWNER_HEADER } from '../api/lease-owner.js';
import { LEASE_HEADER, parseRenewedCordon, type RenewalReport, serializeRenewal } from '../api/lease-renewal.js';
import { type RegistrationTerms, serializeRegistration } from '../api/replica-json.js';
import type { Cordon } from '../core/cordon.js';
import { AnyserveError, toHttpStatus } from '../core/errors.js';
import { asLeaseId, type LeaseId } from '../core/ids.js';
import type { RenewalStatus } from '../core/lease-renewals.js';
import type { Clock } from '../core/ports.js';
import type { Instance, Replica } from '../core/replica.js';
import type { HttpResponse } from '../http/http-client.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';
import { API_RESPONSE_TIMEOUT_MS, type ApiServers, getRegistryId } from './api-servers.js';
import { LeaseConnection } from './lease-connection.js';
import { findOwnerAddress, ReportedOwner } from './reported-owner.js';
import type { ServerAddress } from './server-list.js';

/** Timeout for a renewal, in ms. Short, so that there is time for another one before the lease expires. */
const RENEWAL_TIMEOUT_MS = 1500;

/** Timeout for a response of a lease's owner, in ms. Short, because the request is then sent to the listed server. */
const OWNER_TIMEOUT_MS = 500;

/** Statuses with which a proxy refuses a request to switch to another protocol. */
const UPGRADE_REFUSALS: ReadonlySet<number> = new Set([400, 403, 501]);

/** The client's side of an open lease stream. */
export interface OpenLease {
  /** The server that granted the lease. */
  readonly server: ServerAddress;
  readonly body: Readable;
  /** Set if the server takes renewals on the stream. */
  readonly connection?: LeaseConnection | undefined;
  /** Id of a two-way lease; undefined for a one-way lease, the only kind that the Python server grants. */
  readonly id: LeaseId | undefined;
  /** The server that granted it, if requests for the lease can be sent to it directly. */
  readonly owner?: ReportedOwner | undefined;
  /** Id of the server's registry. Undefined if the server doesn't report it. */
  readonly registry: string | undefined;
  /** The other process whose registration this one replaced. */
  readonly replaced: Instance | undefined;
}

/**
 * Outcome of a renewal. `misrouted`: the response is from a server with a registry other than that of the lease. `owner_silent`: the
 * response is from another server of the registry, which got none from the owner.
 */
export type RenewalReply = RenewalStatus | 'misrouted' | 'owner_silent';

/** Response to a renewal. */
export interface RenewalResponse {
  readonly reply: RenewalReply;
  /** The cordon of the replica, as the server knows it. Undefined if there is none, or the lease was not renewed. */
  readonly cordon: Cordon | undefined;
}

/** Opens, renews and releases leases at API servers. */
export class LeaseClient {
  readonly #servers: ApiServers;
  readonly #clock: Clock;
  /** Servers that have reported a registry, which the Python server doesn't. */
  readonly #withRegistry = new WeakSet<ServerAddress>();

  constructor(servers: ApiServers, clock: Clock) {
    this.#servers = servers;
    this.#clock = clock;
  }

  /** Returns the id of a server's registry; undefined if the server doesn't report it. Rejects with `server_unreachable`. */
  async findRegistry(server: ServerAddress, signal: AbortSignal): Promise<string | undefined> {
    try {
      const registry = getRegistryId(await this.#servers.checkHealth(server, signal));
      if (registry !== undefined) this.#withRegistry.add(server);
      return registry;
    } catch (error) {
      throw signal.aborted ? signal.reason : toUnreachableError(server, error);
    }
  }

  /**
   * Registers a replica with one server and returns the stream of the lease. Rejects with `unprocessable` if the server
   * refuses the registration, `already_exists` if this process has a newer one, `server_unauthenticated` or
   * `server_permission_denied` if it refuses the token, `not_an_api_server`, or `server_unreachable`.
   */
  async open(
    server: ServerAddress,
    replica: Replica,
    terms: RegistrationTerms,
    signal: AbortSignal,
  ): Promise<OpenLease> {
    // The signal must abort only the request, not the stream: the lease keeper releases the lease before it closes that.
    const opening = new AbortController();
    const onAbort = (): void => opening.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await this.#register(server, serializeRegistration(replica, terms), opening.signal);
    } catch (error) {
      throw signal.aborted ? signal.reason : toUnreachableError(server, error);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Renews a two-way lease with a report: on its stream if the server takes renewals there, else with a request. Rejects with `unprocessable` if the server refuses the report, with
   * `resource_exhausted` if the report comes too soon or the server has no room for it, or if the server doesn't respond.
   */
  async renew(lease: OpenLease, report: RenewalReport, signal: AbortSignal): Promise<RenewalResponse> {
    const renewed = await lease.connection?.renew(report);
    if (renewed) return { reply: 'renewed', cordon: renewed.cordon };
    if (signal.aborted) throw signal.reason;
    return this.#renewByRequest(lease, report, signal);
  }

  async #renewByRequest(lease: OpenLease, report: RenewalReport, signal: AbortSignal): Promise<RenewalResponse> {
    const { server } = lease;
    const response = await this.#send('PUT', lease, signal, serializeRenewal(report));
    const status = RENEWAL_STATUSES[response.status];
    if (status) {
      const body = await this.#servers.readShortBody(response);
      if (status === 'renewed') return { reply: status, cordon: parseRenewedCordon(body) };
      return { reply: isOfRegistry(response, lease) ? status : 'misrouted', cordon: undefined };
    }
    if (response.status === 503 && response.headers[OWNER_HEADER] !== undefined) {
      await this.#servers.ignoreBody(response);
      return { reply: 'owner_silent', cordon: undefined };
    }
    const text = await this.#servers.readError(response, RENEWAL_TIMEOUT_MS);
    const isForbidden = report.capabilities !== undefined && response.status === 403;
    const refusal = isForbidden ? parseErrorDetail(text) : parseRefusal(response.status, text);
    if (refusal !== undefined)
      throw new AnyserveError('unprocessable', `${server.name} refuses the capabilities: ${refusal}`);
    const reason = parseErrorDetail(text) ?? 'no reason given';
    const isTemporary = report.capabilities && (response.status === 429 || response.status === 503);
    if (isTemporary)
      throw new AnyserveError('resource_exhausted', `${server.name} cannot accept the capabilities now: ${reason}`);
    throw toUnexpectedResponseError(server, response, text);
  }

  /** Releases a two-way lease. Rejects if the server doesn't respond. */
  async release(lease: OpenLease, signal: AbortSignal): Promise<void> {
    await this.#servers.ignoreBody(await this.#send('DELETE', lease, signal));
  }

  /** Sends a request for a lease to its owner, or to the listed server if the owner does not respond. */
  async #send(method: string, lease: OpenLease, signal: AbortSignal, body?: string): Promise<HttpResponse> {
    const { server, id = '', connection, owner } = lease;
    // If the server takes renewals on the stream, requests are rare, and their connection isn't kept.
    const close = connection?.isOpenForRenewals ? { connection: 'close' } : {};
    const request = {
      method,
      path: `/leases/${encodeURIComponent(id)}`,
      headers: { 'content-type': 'application/json', ...close },
      signal,
      ...(body !== undefined && { body }),
    };
    const fromOwner = owner && (await this.#sendToOwner(owner, lease, request));
    if (signal.aborted) throw signal.reason;
    return fromOwner ?? this.#servers.send(server, { ...request, headTimeoutMs: RENEWAL_TIMEOUT_MS });
  }

  /** Resolves to undefined if the owner does not respond, or if a server of another registry responds in its place. */
  async #sendToOwner(
    owner: ReportedOwner,
    lease: OpenLease,
    request: Omit<Parameters<ApiServers['send']>[1], 'headTimeoutMs'>,
  ): Promise<HttpResponse | undefined> {
    if (!owner.isReachable(this.#clock.nowMs())) return undefined;
    try {
      const response = await this.#servers.send(owner.server, { ...request, headTimeoutMs: OWNER_TIMEOUT_MS });
      if (isOfRegistry(response, lease)) return response;
      await this.#servers.ignoreBody(response);
    } catch {
      // The listed server is asked, and its failure is reported.
    }
    owner.recordFailure(this.#clock.nowMs());
    return undefined;
  }

  /** Returns whether the listed server has another registry than the server that granted the lease. Rejects with `server_unreachable`. */
  async isMisrouted(lease: OpenLease, signal: AbortSignal): Promise<boolean> {
    const registry = await this.findRegistry(lease.server, signal);
    return registry !== undefined && !isSameRegistry(registry, lease.registry);
  }

  async #register(server: ServerAddress, body: string, signal: AbortSignal): Promise<OpenLease> {
    // The Python server loses the body of a request that asks for another protocol.
    const upgrade = this.#withRegistry.has(server) ? LEASE_PROTOCOL : undefined;
    const response = await this.#sendRegistration(server, body, signal, upgrade);
    if (!upgrade || !UPGRADE_REFUSALS.has(response.status)) return this.#toOpenLease(server, response);
    await this.#servers.ignoreBody(response);
    return this.#toOpenLease(server, await this.#sendRegistration(server, body, signal));
  }

  #sendRegistration(
    server: ServerAddress,
    body: string,
    signal: AbortSignal,
    upgrade?: string | undefined,
  ): Promise<HttpResponse> {
    return this.#servers.send(server, {
      method: 'POST',
      path: '/register',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body,
      headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
      signal,
      upgrade,
    });
  }

  /** Returns the lease that a response grants. Throws if it grants none. */
  async #toOpenLease(server: ServerAddress, response: HttpResponse): Promise<OpenLease> {
    const { status, headers, upgraded } = response;
    if (upgraded || (status === 200 && headers['content-type']?.startsWith('text/event-stream'))) {
      const lease = headers[LEASE_HEADER];
      const owner = findOwnerAddress(headers[OWNER_HEADER], server, response.peer);
      return {
        server,
        owner: owner && new ReportedOwner(owner),
        body: response.body,
        connection: upgraded && new LeaseConnection(upgraded, this.#clock),
        id: typeof lease === 'string' ? asLeaseId(lease) : undefined,
        registry: getRegistryId(response),
        replaced: parseReplacedHeader(headers[REPLACED_HEADER]),
      };
    }
    const text = await this.#servers.readError(response, API_RESPONSE_TIMEOUT_MS);
    const refusal = parseRefusal(status, text);
    if (refusal !== undefined)
      throw new AnyserveError('unprocessable', `${server.name} refuses the registration: ${refusal}`);
    throw createStaleNumberError(server, response, text) ?? toUnexpectedResponseError(server, response, text);
  }
}

/**
 * Returns the error of a registration whose process has a newer one, for example because a proxy or the network delayed the request.
 * Undefined for any other response. Another attempt has a higher number, so it can succeed.
 */
function createStaleNumberError(
  server: ServerAddress,
  response: HttpResponse,
  text: string,
): AnyserveError | undefined {
  if (response.status !== toHttpStatus('already_exists') || getRegistryId(response) === undefined) return undefined;
  const detail = parseErrorDetail(text) ?? 'no reason given';
  const advice = 'the next attempt has a higher number; if this repeats, stop the copy of this process';
  return new AnyserveError(
    'already_exists',
    `the API server ${server.name} refused the registration (HTTP ${response.status}): ${detail}; ${advice}`,
  );
}

/** Statuses of the responses to a renewal that are about the lease. */
const RENEWAL_STATUSES: Readonly<Partial<Record<number, RenewalStatus>>> = {
  200: 'renewed',
  404: 'unknown',
  409: 'superseded',
};

/** Returns whether a response is from a server of the registry that granted the lease. */
function isOfRegistry(response: HttpResponse, { registry }: OpenLease): boolean {
  return registry === undefined || isSameRegistry(getRegistryId(response), registry);
}

/** Returns whether two ids are of the same registry. A server with a shared store that can't be reached does not know its id. */
function isSameRegistry(one: string | undefined, other: string | undefined): boolean {
  return one === other || one === UNKNOWN_REGISTRY || other === UNKNOWN_REGISTRY;
}

/** Returns the issues that a server found in a request body, in one line; undefined for any other response. */
function parseRefusal(status: number, text: string): string | undefined {
  if (status === 422) return formatValidationIssues(text);
  return status === 413 ? parseErrorDetail(text) : undefined;
}
