import type { Readable } from 'node:stream';
import { formatValidationIssues, parseErrorDetail } from '../api/api-responses.js';
import { parseReplacedHeader, REPLACED_HEADER } from '../api/instance-json.js';
import { LEASE_PROTOCOL } from '../api/lease-events.js';
import { LEASE_HEADER, parseRenewedCordon, type RenewalReport, serializeRenewal } from '../api/lease-renewal.js';
import { type RegistrationTerms, serializeRegistration } from '../api/replica-json.js';
import type { Cordon } from '../core/cordon.js';
import { AnyserveError } from '../core/errors.js';
import { asLeaseId, type LeaseId } from '../core/ids.js';
import type { RenewalStatus } from '../core/lease-renewals.js';
import type { Clock } from '../core/ports.js';
import type { Instance, Replica } from '../core/replica.js';
import type { HttpResponse } from '../http/http-client.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';
import { API_RESPONSE_TIMEOUT_MS, type ApiServers, getRegistryId } from './api-servers.js';
import { LeaseConnection } from './lease-connection.js';
import type { ServerAddress } from './server-list.js';

/** Timeout for a renewal, in ms. Short, so that there is time for another one before the lease expires. */
const RENEWAL_TIMEOUT_MS = 1500;

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
  /** Id of the server's registry. Undefined if the server doesn't report it. */
  readonly registry: string | undefined;
  /** The other process whose registration this one replaced. */
  readonly replaced: Instance | undefined;
}

/** Outcome of a renewal. `misrouted`: the response is from a server with a registry other than that of the lease. */
export type RenewalReply = RenewalStatus | 'misrouted';

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
   * refuses the registration, `server_unauthenticated` or `server_permission_denied` if it refuses the token,
   * `not_an_api_server`, or `server_unreachable`.
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
    const { server, registry } = lease;
    const response = await this.#send('PUT', lease, signal, serializeRenewal(report));
    const status = RENEWAL_STATUSES[response.status];
    if (status) {
      const body = await this.#servers.readShortBody(response);
      if (status === 'renewed') return { reply: status, cordon: parseRenewedCordon(body) };
      const isMisrouted = registry !== undefined && getRegistryId(response) !== registry;
      return { reply: isMisrouted ? 'misrouted' : status, cordon: undefined };
    }
    const text = await this.#servers.readError(response, RENEWAL_TIMEOUT_MS);
    const refusal = parseRefusal(response.status, text);
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

  #send(method: string, lease: OpenLease, signal: AbortSignal, body?: string): Promise<HttpResponse> {
    const { server, id = '', connection } = lease;
    // If the server takes renewals on the stream, requests are rare, and their connection isn't kept.
    const close = connection?.isOpenForRenewals ? { connection: 'close' } : {};
    return this.#servers.send(server, {
      method,
      path: `/leases/${encodeURIComponent(id)}`,
      headers: { 'content-type': 'application/json', ...close },
      headTimeoutMs: RENEWAL_TIMEOUT_MS,
      signal,
      ...(body !== undefined && { body }),
    });
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
      return {
        server,
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
    throw toUnexpectedResponseError(server, response, text);
  }
}

/** Statuses of the responses to a renewal that are about the lease. */
const RENEWAL_STATUSES: Readonly<Partial<Record<number, RenewalStatus>>> = {
  200: 'renewed',
  404: 'unknown',
  409: 'superseded',
};

/** Returns the issues that a server found in a request body, in one line; undefined for any other response. */
function parseRefusal(status: number, text: string): string | undefined {
  if (status === 422) return formatValidationIssues(text);
  return status === 413 ? parseErrorDetail(text) : undefined;
}
