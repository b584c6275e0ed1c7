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

/** Timeout for a renewal, in ms. Short, so that there is time for others before the lease expires. */
const RENEWAL_TIMEOUT_MS = 1500;

/** An open lease stream, on the client's side. */
export interface OpenLease {
  /** The server that granted it. */
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
   * Registers a replica with one server, the given one or else the next of the list at each call, and returns the lease's
   * stream. Rejects with `unprocessable` when the server refuses the registration, `server_unauthenticated` or
   * `server_permission_denied` when it refuses the token, `not_an_api_server`, or `server_unreachable`.
   */
  async open(
    replica: Replica,
    { ttlMs, state }: { readonly ttlMs: number; readonly state?: DeclaredState },
    signal: AbortSignal,
    server = this.#servers.takeNext(),
  ): Promise<OpenLease> {
    // Aborts the request and not the stream: a keeper releases the lease before it closes the stream.
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
   * Renews a two-way lease with a report. Rejects with `unprocessable` when the report is refused, with
   * `resource_exhausted` when it comes too soon or the server has no room for it, or when the server does not answer.
   */
  async renew(server: string, lease: LeaseId, report: RenewalReport, signal: AbortSignal): Promise<RenewalStatus> {
    const answer = await this.#send('PUT', server, lease, signal, serializeRenewal(report));
    if (answer.status === 200 || answer.status === 404 || answer.status === 409) await this.#servers.ignoreBody(answer);
    if (answer.status === 200) return 'renewed';
    if (answer.status === 404) return 'unknown';
    if (answer.status === 409) return 'superseded';
    const text = await this.#servers.readError(answer, RENEWAL_TIMEOUT_MS);
    const fault = refusalLine(answer.status, text);
    if (fault !== undefined) throw new AnyserveError('unprocessable', `${server} refuses the offer: ${fault}`);
    const reason = parseErrorDetail(text) ?? 'no reason given';
    const isNotNow = report.capabilities && (answer.status === 429 || answer.status === 503);
    if (isNotNow) throw new AnyserveError('resource_exhausted', `${server} does not take the offer now: ${reason}`);
    throw toUnexpectedResponseError(server, answer, text);
  }

  /** Releases a two-way lease. Rejects when the server does not answer. */
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
    const answer = await this.#servers.send({
      method: 'POST',
      url: `${server}/register`,
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body,
      headTimeoutMs: API_RESPONSE_TIMEOUT_MS,
      signal,
    });
    const { status, headers } = answer;
    if (status === 200 && headers['content-type']?.startsWith('text/event-stream')) {
      const lease = headers[LEASE_HEADER];
      return { server, body: answer.body, lease: typeof lease === 'string' ? asLeaseId(lease) : undefined };
    }
    const text = await this.#servers.readError(answer, API_RESPONSE_TIMEOUT_MS);
    const fault = refusalLine(status, text);
    if (fault !== undefined) throw new AnyserveError('unprocessable', `${server} refuses the registration: ${fault}`);
    throw toUnexpectedResponseError(server, answer, text);
  }
}

/** Returns what a server finds wrong with a body, in one line; undefined for any other response. */
function refusalLine(status: number, text: string): string | undefined {
  if (status === 422) return formatValidationIssues(text);
  return status === 413 ? parseErrorDetail(text) : undefined;
}
