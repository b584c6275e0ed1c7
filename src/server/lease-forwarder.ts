import { REGISTRY_HEADER } from '../api/instance-json.js';
import {
  FORWARDED_HEADER,
  formatScopeHeader,
  MISDIRECTED_STATUS,
  parseOwnerUrl,
  SCOPE_HEADER,
} from '../api/lease-owner.js';
import { getErrorMessage } from '../core/errors.js';
import type { LeaseId, RegistryId } from '../core/ids.js';
import type { Clock } from '../core/ports.js';
import { type Scope, WHOLE_REGISTRY } from '../core/scope.js';
import { explainTlsError } from '../core/tls.js';
import type { HttpConnections, HttpResponse } from '../http/http-client.js';

/** A request for a lease. */
export interface LeaseRequest {
  readonly method: 'PUT' | 'DELETE';
  readonly lease: LeaseId;
  /** Undefined: no body. */
  readonly body?: string | undefined;
  /** The part of the registry that the token of the request can use. */
  readonly scope: Scope;
}

/** The response of the API server that has the lease, or why there is none. */
export type ForwardOutcome =
  | {
      readonly kind: 'response';
      readonly status: number;
      readonly body: string;
      /** The header `retry-after`. */
      readonly retryAfter: string | undefined;
    }
  | FailedForward;

/** A request that has no response of the owner. */
interface FailedForward {
  readonly kind: ForwardFailure;
  readonly reason: string;
}

/**
 * Reasons for which the owner has not responded:
 * - `absent`: nothing listens at its URL, or another API server responds there. So the owner has ended, if its URL was right.
 * - `unreachable`: it does not respond in time, refuses this server, or has a URL that this server can't use.
 * - `unsent`: too many other requests wait for responses. This says nothing about the owner.
 */
export type ForwardFailure = 'absent' | 'unreachable' | 'unsent';

/** Dependencies of a {@link LeaseForwarder}. */
export interface LeaseForwarderOptions {
  readonly connections: Pick<HttpConnections, 'send' | 'readText' | 'close'>;
  readonly clock: Clock;
  /** Returns the token for other API servers. Default: none. */
  readonly token?: (() => string) | undefined;
  /** Whether to send requests only over TLS, because this server uses it too. */
  readonly requiresTls: boolean;
}

/** Timeout for a forwarded request and its response, in ms. An owner waits for etcd for up to 1 s until a lease has ended. */
const TIMEOUTS_MS = { PUT: 1000, DELETE: 2000 };

/** Maximum size of a response, in bytes. A 422 response repeats parts of the request. */
const MAX_RESPONSE_BYTES = 256 * 1024;

/** Maximum number of forwarded requests without a response, and so of connections: to all servers, and to one that can be frozen. */
const MAX_REQUESTS = 1000;
const MAX_REQUESTS_PER_OWNER = 250;

/** Statuses that are about the lease or the request. Any other says that the owner does not accept requests of this server. */
const RELAYED_STATUSES: ReadonlySet<number> = new Set([200, 404, 409, 413, 422, 429, 503]);

/** Forwards requests for leases to the API servers that granted them. */
export class LeaseForwarder {
  readonly #options: LeaseForwarderOptions;
  /** Number of requests without a response, by the URL of the owner. */
  readonly #requests = new Map<string, number>();
  #total = 0;

  constructor(options: LeaseForwarderOptions) {
    this.#options = options;
  }

  /** Forwards a request to an owner of the same registry, and resolves within 1 s, or 2 s for the end of a lease. */
  async forward(ownerUrl: string, request: LeaseRequest, registry: RegistryId | undefined): Promise<ForwardOutcome> {
    const problem = this.#findProblem(ownerUrl);
    if (problem) return problem;
    this.#count(ownerUrl, 1);
    const timeout = new AbortController();
    const timeoutMs = TIMEOUTS_MS[request.method];
    const cancelTimeout = this.#options.clock.schedule(timeoutMs, () => timeout.abort(), { background: true });
    try {
      return await this.#exchange(ownerUrl, request, registry, timeout.signal);
    } catch (error) {
      const late = `no response within ${timeoutMs / 1000} s`;
      const reason = timeout.signal.aborted ? late : (explainTlsError(error) ?? getErrorMessage(error));
      return { kind: isRefused(error) ? 'absent' : 'unreachable', reason };
    } finally {
      cancelTimeout();
      this.#count(ownerUrl, -1);
    }
  }

  close(): void {
    this.#options.connections.close();
  }

  #findProblem(ownerUrl: string): FailedForward | undefined {
    const url = parseOwnerUrl(ownerUrl);
    if (!url) return { kind: 'unreachable', reason: 'it has not reported a valid URL' };
    if (this.#options.requiresTls && url.protocol !== 'https:') {
      return { kind: 'unreachable', reason: 'it does not use TLS, but this server does' };
    }
    const isBusy = (this.#requests.get(ownerUrl) ?? 0) >= MAX_REQUESTS_PER_OWNER;
    if (!isBusy && this.#total < MAX_REQUESTS) return undefined;
    return { kind: 'unsent', reason: 'too many forwarded requests have no response yet' };
  }

  #count(ownerUrl: string, difference: 1 | -1): void {
    this.#total += difference;
    const count = (this.#requests.get(ownerUrl) ?? 0) + difference;
    if (count > 0) this.#requests.set(ownerUrl, count);
    else this.#requests.delete(ownerUrl);
  }

  async #exchange(
    ownerUrl: string,
    { method, lease, body, scope }: LeaseRequest,
    registry: RegistryId | undefined,
    signal: AbortSignal,
  ): Promise<ForwardOutcome> {
    const { connections, token } = this.#options;
    const authorization = token ? { authorization: `Bearer ${token()}` } : {};
    const limit = scope === WHOLE_REGISTRY ? {} : { [SCOPE_HEADER]: formatScopeHeader(scope) };
    const response = await connections.send({
      method,
      url: `${ownerUrl}/leases/${encodeURIComponent(lease)}`,
      headers: { 'content-type': 'application/json', [FORWARDED_HEADER]: '1', ...authorization, ...limit },
      ...(body !== undefined && { body }),
      headTimeoutMs: TIMEOUTS_MS[method],
      signal,
      isBackground: true,
    });
    const text = await connections.readText(response, TIMEOUTS_MS[method], MAX_RESPONSE_BYTES);
    const { status, headers } = response;
    return (
      findRefusal(response, scope, registry) ?? {
        kind: 'response',
        status,
        body: text,
        retryAfter: headers['retry-after'],
      }
    );
  }
}

/** Returns why a response is not that of the lease's owner; undefined if it is. */
function findRefusal(
  { status, headers }: HttpResponse,
  scope: Scope,
  registry: RegistryId | undefined,
): FailedForward | undefined {
  if (headers[REGISTRY_HEADER] !== registry) {
    return { kind: 'absent', reason: 'an API server of another registry responds there' };
  }
  if (RELAYED_STATUSES.has(status)) return undefined;
  if (status === MISDIRECTED_STATUS) return { kind: 'absent', reason: 'another API server responds there' };
  // The owner refuses capability objects outside of the scope.
  if (status === 403 && scope !== WHOLE_REGISTRY) return undefined;
  const isAboutToken = status === 401 || status === 403;
  const reason = isAboutToken
    ? 'it does not accept the peer token of this server'
    : `it responds with status ${status}`;
  return { kind: 'unreachable', reason };
}

/** Returns whether a connection failed because nothing listens at its address. */
function isRefused(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED';
}
