import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import type { CapabilityQuery } from '../core/capability.js';
import { AnyserveError } from '../core/errors.js';
import { asLeaseId, type LeaseId, type ReplicaId } from '../core/ids.js';
import type { Renewal } from '../core/registry.js';
import type { DeclaredState, Replica } from '../core/replica.js';
import type { ClientTls } from '../core/tls.js';
import { trimTrailingSlashes } from '../core/trailing-slashes.js';
import {
  detailFromText,
  faultsLine,
  NO_MATCH,
  type Route,
  replicasFromText,
  routeFromText,
  WARMING_HEADER,
} from '../wire/answers.js';
import { type ListedReplica, listedReplicasFromText, REPLICA_ID_PARAMETER } from '../wire/known-replicas.js';
import { LEASE_HEADER, type Report, renewalText } from '../wire/lease.js';
import { EXCLUDE_HEADER, headerFromExcluded, searchFromQuery } from '../wire/query.js';
import { registrationText } from '../wire/replica-json.js';
import { strangeAnswer, unreachable } from './api-failure.js';
import { type HttpAnswer, HttpConnections, type HttpRequest } from './http.js';

/** How long an API server may take to answer before the next one is asked. */
const ANSWER_TIMEOUT_MS = 3000;

/** How long a renewal may take: so short that there is time for others before the lease runs out. */
const RENEWAL_TIMEOUT_MS = 1500;

/** Timeout for the body of a list: a slow link needs it for many replicas. */
const LIST_TIMEOUT_MS = 30_000;

/** Maximum size of a route: an endpoint and an id. */
const MAX_ROUTE_BYTES = 64 * 1024;

/** Maximum size of a list. 100,000 replicas with one capability take 15 MB, with all that is known of them 26 MB. */
const MAX_LIST_BYTES = 64 * 1024 * 1024;

/** How much of an answer that is an error is read. A 422 has an entry for each fault. */
const MAX_ERROR_BYTES = 256 * 1024;

/** A body that is read only to keep the connection for the next request. */
const MAX_IGNORED_BYTES = 4 * 1024;

const LIST = { maxBytes: MAX_LIST_BYTES, bodyTimeoutMs: LIST_TIMEOUT_MS };

/** What a request may be told beside its question. */
export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  /** How long each server may take, in milliseconds. */
  readonly timeoutMs?: number | undefined;
  /** The one server to ask; all in turn unless told. */
  readonly server?: string | undefined;
}

/** What an answer may take. */
interface AnswerLimits {
  readonly maxBytes: number;
  /** Timeout for the body, in milliseconds. Default: that of the head. */
  readonly bodyTimeoutMs?: number;
}

/** How API servers are asked. */
export interface ServerAccess {
  /** The bearer token to show them, looked up for each request. */
  readonly token?: (() => string) | undefined;
  /** Whom to trust behind `https`, and what to show there; looked up likewise. */
  readonly tls?: (() => ClientTls) | undefined;
}

/** What asking for a route comes to. While `isWarming`, replicas may still be on their way back to the server. */
export type RouteAnswer =
  | { readonly kind: 'found'; readonly route: Route }
  | { readonly kind: 'none'; readonly isWarming: boolean };

/** An open lease stream, as the client holds it. */
export interface OpenLease {
  /** The server that granted it. */
  readonly server: string;
  readonly body: Readable;
  /** Its name, where the server has granted a two-way lease; the original's servers know only the other kind. */
  readonly lease: LeaseId | undefined;
}

/**
 * The API servers, as one: each question goes to the one that answered last, and from there down the list until one
 * answers.
 */
export class ApiClient {
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #connections: HttpConnections;
  #current = 0;

  /** Throws `usage` for a server that is no `http://` or `https://` URL. */
  constructor(servers: readonly string[], access: ServerAccess = {}) {
    if (servers.length === 0) throw new AnyserveError('usage', 'give the URL of an API server');
    this.#servers = servers.map(parseServer);
    this.#access = access;
    this.#connections = new HttpConnections(access.tls);
  }

  /** A replica that matches, if one does. Throws `server_unreachable`. */
  async route(query: CapabilityQuery, excluded: Iterable<ReplicaId> = [], ask: AskOptions = {}): Promise<RouteAnswer> {
    const search = searchFromQuery(query);
    const header = headerFromExcluded(excluded);
    return this.#ask<RouteAnswer>(
      `/route${search && `?${search}`}`,
      header ? { [EXCLUDE_HEADER]: header } : {},
      { ...ask, maxBytes: MAX_ROUTE_BYTES },
      (status, body, answered) => {
        if (status === 404 && detailFromText(body) === NO_MATCH) {
          return { answer: { kind: 'none', isWarming: answered[WARMING_HEADER] !== undefined } };
        }
        const route = status === 200 ? routeFromText(body) : undefined;
        return route && { answer: { kind: 'found', route } };
      },
    );
  }

  /** All replicas, in the order of registration. Throws `server_unreachable`. */
  async replicas(ask: AskOptions = {}): Promise<Replica[]> {
    return this.#ask('/registry', {}, { ...ask, ...LIST }, (status, body) => {
      const replicas = status === 200 ? replicasFromText(body) : undefined;
      return replicas && { answer: replicas };
    });
  }

  /** All replicas with all that is told of them, unroutable ones too. Throws `server_unreachable`. */
  async list(ask: AskOptions = {}, filter = ''): Promise<ListedReplica[]> {
    const known = await this.#ask(`/replicas${filter}`, {}, { ...ask, ...LIST }, (status, body) => {
      // The original has no such list.
      if (status === 404) return { answer: undefined };
      const listed = status === 200 ? listedReplicasFromText(body) : undefined;
      return listed && { answer: listed };
    });
    if (known) return known;
    return this.#ask('/registry', {}, { ...ask, ...LIST }, (status, body) => {
      const listed = status === 200 ? listedReplicasFromText(body) : undefined;
      return listed && { answer: listed };
    });
  }

  /**
   * What is known of one replica; undefined when it is not listed. A server that cannot be asked for one, as the Python
   * server, is asked for all. Throws `server_unreachable`.
   */
  async find(id: ReplicaId, ask: AskOptions = {}): Promise<ListedReplica | undefined> {
    const listed = await this.list(ask, `?${REPLICA_ID_PARAMETER}=${encodeURIComponent(id.toWellFormed())}`);
    return listed.find(({ replica }) => replica.id === id);
  }

  /**
   * Registers a replica with one server, the given one or else the next of the list at each call, for a time after which
   * it is to be renewed, and returns the stream that is its lease. Throws `unprocessable` when the server refuses the
   * registration, `server_unauthenticated` or `server_permission_denied` when it refuses the token,
   * `not_an_api_server`, or `server_unreachable`.
   */
  async openLease(
    replica: Replica,
    { ttlMs, state }: { readonly ttlMs: number; readonly state?: DeclaredState },
    signal: AbortSignal,
    server = this.#nextServer(),
  ): Promise<OpenLease> {
    // It calls the request off and not the stream: whoever has that may have something to say before it closes.
    const opening = new AbortController();
    const onAbort = (): void => opening.abort();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      return await this.#lease(server, registrationText(replica, ttlMs, state), opening.signal);
    } catch (error) {
      throw signal.aborted ? signal.reason : unreachable(server, error);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /**
   * Renews a two-way lease, with a report. Rejects with `unprocessable` when the report is refused, with
   * `resource_exhausted` when it comes too soon or the server has no room for it, or when the server does not answer.
   */
  async renew(server: string, lease: LeaseId, report: Report, signal: AbortSignal): Promise<Renewal> {
    const answer = await this.#atLease('PUT', server, lease, signal, renewalText(report));
    if (answer.status === 200 || answer.status === 404 || answer.status === 409) await this.#ignoreBody(answer);
    if (answer.status === 200) return 'renewed';
    if (answer.status === 404) return 'unknown';
    if (answer.status === 409) return 'superseded';
    const text = await this.#connections.beginning(answer, RENEWAL_TIMEOUT_MS, MAX_ERROR_BYTES);
    const fault = refusalLine(answer.status, text);
    if (fault !== undefined) throw new AnyserveError('unprocessable', `${server} refuses the offer: ${fault}`);
    const reason = detailFromText(text) ?? 'no reason given';
    const isNotNow = report.capabilities && (answer.status === 429 || answer.status === 503);
    if (isNotNow) throw new AnyserveError('resource_exhausted', `${server} does not take the offer now: ${reason}`);
    throw strangeAnswer(server, answer, text);
  }

  /** Gives a two-way lease back. Rejects when the server does not answer. */
  async release(server: string, lease: LeaseId, signal: AbortSignal): Promise<void> {
    await this.#ignoreBody(await this.#atLease('DELETE', server, lease, signal));
  }

  /** Whether a server answers at all. */
  async isAlive(server: string, signal: AbortSignal): Promise<boolean> {
    const request = { method: 'GET', url: `${server}/health`, headTimeoutMs: ANSWER_TIMEOUT_MS, signal };
    try {
      await this.#ignoreBody(await this.#connections.send(request));
      return true;
    } catch {
      return false;
    }
  }

  /** How many servers there are to ask. */
  get serverCount(): number {
    return this.#servers.length;
  }

  /** Ends every connection. */
  close(): void {
    this.#connections.close();
  }

  async #atLease(
    method: string,
    server: string,
    lease: LeaseId,
    signal: AbortSignal,
    body?: string,
  ): Promise<HttpAnswer> {
    const url = `${server}/leases/${encodeURIComponent(lease)}`;
    const headers = { 'content-type': 'application/json' };
    const request = {
      method,
      url,
      headers,
      headTimeoutMs: RENEWAL_TIMEOUT_MS,
      signal,
      ...(body !== undefined && { body }),
    };
    return this.#send(request);
  }

  async #lease(server: string, body: string, signal: AbortSignal): Promise<OpenLease> {
    const answer = await this.#send({
      method: 'POST',
      url: `${server}/register`,
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body,
      headTimeoutMs: ANSWER_TIMEOUT_MS,
      signal,
    });
    const { status, headers } = answer;
    if (status === 200 && headers['content-type']?.startsWith('text/event-stream')) {
      const lease = headers[LEASE_HEADER];
      return { server, body: answer.body, lease: typeof lease === 'string' ? asLeaseId(lease) : undefined };
    }
    const text = await this.#connections.beginning(answer, ANSWER_TIMEOUT_MS, MAX_ERROR_BYTES);
    const fault = refusalLine(status, text);
    if (fault !== undefined) throw new AnyserveError('unprocessable', `${server} refuses the registration: ${fault}`);
    throw strangeAnswer(server, answer, text);
  }

  /** Sends a request, with the token that holds now. */
  #send(request: HttpRequest): Promise<HttpAnswer> {
    const token = this.#access.token?.();
    const shown = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return this.#connections.send({ ...request, headers: { ...request.headers, ...shown } });
  }

  /** Reads a short body to its end, so that its connection serves the next request; closes that of any other. */
  async #ignoreBody(answer: HttpAnswer): Promise<void> {
    await this.#connections.beginning(answer, RENEWAL_TIMEOUT_MS, MAX_IGNORED_BYTES).catch(() => {});
  }

  #nextServer(): string {
    const server = this.#servers[this.#current] as string;
    this.#current = (this.#current + 1) % this.#servers.length;
    return server;
  }

  async #ask<T>(
    path: string,
    headers: Record<string, string>,
    {
      signal,
      timeoutMs = ANSWER_TIMEOUT_MS,
      server: only,
      maxBytes,
      bodyTimeoutMs = timeoutMs,
    }: AskOptions & AnswerLimits,
    read: (status: number, body: string, headers: IncomingHttpHeaders) => { answer: T } | undefined,
  ): Promise<T> {
    const count = only === undefined ? this.#servers.length : 1;
    let failure: unknown;
    for (let tried = 0; tried < count; tried++) {
      const server = only ?? (this.#servers[this.#current] as string);
      try {
        const answer = await this.#send({
          method: 'GET',
          url: `${server}${path}`,
          headers,
          headTimeoutMs: timeoutMs,
          signal,
        });
        const body =
          answer.status === 200
            ? await this.#connections.text(answer, bodyTimeoutMs, maxBytes)
            : await this.#connections.beginning(answer, timeoutMs, MAX_ERROR_BYTES);
        const found = read(answer.status, body, answer.headers);
        if (found) return found.answer;
        throw strangeAnswer(server, answer, body);
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        failure = unreachable(server, error);
        if (only === undefined) this.#current = (this.#current + 1) % this.#servers.length;
      }
    }
    throw failure;
  }
}

/** What a server finds wrong with a body, in one line; undefined when that is not what it answers. */
function refusalLine(status: number, text: string): string | undefined {
  if (status === 422) return faultsLine(text);
  return status === 413 ? detailFromText(text) : undefined;
}

function parseServer(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.username || url?.password) {
    const advice = 'give a token with --token-file or in ANYSERVE_TOKEN';
    throw new AnyserveError(
      'usage',
      `the URL of ${url.host} holds a user name or password, which others can see; ${advice}`,
    );
  }
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (isHttp && url.search === '' && url.hash === '') return trimTrailingSlashes(text);
  throw new AnyserveError(
    'usage',
    `${JSON.stringify(text)} is no URL of an API server; give one like http://localhost:8080`,
  );
}
