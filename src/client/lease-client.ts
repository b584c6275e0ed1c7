import type { Readable } from 'node:stream';
import { formatValidationIssues, parseErrorDetail } from '../api/api-responses.js';
import { LEASE_HEADER, type RenewalReport, serializeRenewal } from '../api/lease-renewal.js';
import { serializeRegistration } from '../api/replica-json.js';
import { AnyserveError } from '../core/errors.js';
import { asLeaseId, type LeaseId } from '../core/ids.js';
import type { RenewalStatus } from '../core/lease-renewals.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import type { HttpRequest, HttpResponse } from '../http/http-client.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';
import { API_RESPONSE_TIMEOUT_MS, type ApiServers } from './api-servers.js';

/** Timeout for a renewal, in ms. Short, so that there is time for another one before the lease expires. */
const RENEWAL_TIMEOUT_MS = 1500;

/** The client's side of an open lease stream. */
export interface OpenLease {
  /** URL of the server that granted the lease. */
  readonly server: string;
  readonly body: Readable;
  /** Id of a two-way lease; undefined for a one-way lease, the only kind that the Python server grants. */
  readonly lease: LeaseId | undefined;
}

/** Opens, renews and releases leases at API servers. */
export class LeaseClient {
  readonly #servers: ApiServers;

  constructor(servers: ApiServers) {
    this.#servers = servers;
  }

  /**
   * Registers a replica with one server and returns the stream of the lease. Default server: the next one of the list at
   * each call. Rejects with `unprocessable` if the server refuses the registration, `server_unauthenticated` or
   * `server_permission_denied` if it refuses the token, `not_an_api_server`, or `server_unreachable`.
   */
  async open(
    replica: Replica,
    { ttlMs, state }: { readonly ttlMs: number; readonly state?: DeclaredState },
    signal: AbortSignal,
    server = this.#servers.takeNext(),
  ): Promise<OpenLease> {
    // The signal must abort only the request, not the stream: the lease keeper releases the lease before it closes that.
    const opening = new AbortController();
    const onAbort = (): void => opening.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await this.#register(server, serializeRegistration(replica, ttlMs, state), opening.signal);
    } catch (error) {
      throw signal.aborted ? signal.reason : toUnreachableError(server, error);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Renews a two-way lease with a report. Rejects with `unprocessable` if the server refuses the report, with
   * `resource_exhausted` if the report comes too soon or the server has no room for it, or if the server doesn't respond.
   */
  async renew(server: string, lease: LeaseId, report: RenewalReport, signal: AbortSignal): Promise<RenewalStatus> {
    const response = await this.#send('PUT', server, lease, signal, serializeRenewal(report));
    if (response.status === 200 || response.status === 404 || response.status === 409)
      await this.#servers.ignoreBody(response);
    if (response.status === 200) return 'renewed';
    if (response.status === 404) return 'unknown';
    if (response.status === 409) return 'superseded';
    const text = await this.#servers.readError(response, RENEWAL_TIMEOUT_MS);
    const refusal = parseRefusal(response.status, text);
    if (refusal !== undefined)
      throw new AnyserveError('unprocessable', `${server} refuses the capabilities: ${refusal}`);
    const reason = parseErrorDetail(text) ?? 'no reason given';
    const isTemporary = report.capabilities && (response.status === 429 || response.status === 503);
    if (isTemporary)
      throw new AnyserveError('resource_exhausted', `${server} cannot accept the capabilities now: ${reason}`);
    throw toUnexpectedResponseError(server, response, text);
  }

  /** Releases a two-way lease. Rejects if the server doesn't respond. */
  async release(server: string, lease: LeaseId, signal: AbortSignal): Promise<void> {
    await this.#servers.ignoreBody(await this.#send('DELETE', server, lease, signal));
  }

  #send(method: string, server: string, lease: LeaseId, signal: AbortSignal, body?: string): Promise<HttpResponse> {
    const request: HttpRequest = {
      method,
      url: `${server}/leases/${encodeURIComponent(lease)}`,
      headers: { 'content-type': 'application/json' },
      headTimeoutMs: RENEWAL_TIMEOUT_MS,
      signal,
      ...(body !== undefined && { body }),
    };
    return this.#servers.send(request);
  }

  async #register(server: string, body: string, signal: AbortSignal): Promise<OpenLease> {
    const response = await this.#servers.send({
      method: 'POST',
      url: `${server}/register`,
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body,
      headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
      signal,
    });
    const { status, headers } = response;
    if (status === 200 && headers['content-type']?.startsWith('text/event-stream')) {
      const lease = headers[LEASE_HEADER];
      return { server, body: response.body, lease: typeof lease === 'string' ? asLeaseId(lease) : undefined };
    }
    const text = await this.#servers.readError(response, API_RESPONSE_TIMEOUT_MS);
    const refusal = parseRefusal(status, text);
    if (refusal !== undefined)
      throw new AnyserveError('unprocessable', `${server} refuses the registration: ${refusal}`);
    throw toUnexpectedResponseError(server, response, text);
  }
}

/** Returns the issues that a server found in a request body, in one line; undefined for any other response. */
function parseRefusal(status: number, text: string): string | undefined {
  if (status === 422) return formatValidationIssues(text);
  return status === 413 ? parseErrorDetail(text) : undefined;
}
