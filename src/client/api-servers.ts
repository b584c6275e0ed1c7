import type { IncomingHttpHeaders } from 'node:http';
import { AnyserveError } from '../core/errors.js';
import type { ClientTls } from '../core/tls.js';
import { trimTrailingSlashes } from '../core/trailing-slashes.js';
import { HttpConnections, type HttpRequest, type HttpResponse } from '../http/http-client.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';

/** Timeout for the response of an API server, in ms, before the next server is asked. */
export const API_RESPONSE_TIMEOUT_MS = 3000;

/** Maximum number of bytes read of an error response. A 422 has an entry for each issue. */
const MAX_ERROR_BYTES = 256 * 1024;

/** Maximum size of a body that is read only to keep the connection for the next request. */
const MAX_IGNORED_BYTES = 4 * 1024;

/** Timeout for a body that is ignored, in ms. */
const IGNORED_BODY_TIMEOUT_MS = 1500;

/** Options of a request to API servers. */
export interface ApiRequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Timeout for each server, in ms. */
  readonly timeoutMs?: number | undefined;
  /** The only server to ask. Default: all servers, one after the other. */
  readonly server?: string | undefined;
}

/** A GET request that any server can answer. */
export interface ApiRequest<T> extends ApiRequestOptions {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly maxBytes: number;
  /** Timeout for the body, in ms. Default: that of the head. */
  readonly bodyTimeoutMs?: number;
  /** Parses a response; returns undefined for one that no API server gives. */
  readonly parse: (status: number, body: string, headers: IncomingHttpHeaders) => { readonly value: T } | undefined;
}

/** Credentials and trust for API servers. */
export interface ServerAccess {
  /** Returns the bearer token; called for each request. */
  readonly token?: (() => string) | undefined;
  /** Returns the TLS settings for `https`; called for each request. */
  readonly tls?: (() => ClientTls) | undefined;
}

/** A list of API servers with failover: a question goes to the server that answered last, then to the next ones. */
export class ApiServers {
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #connections: HttpConnections;
  #current = 0;

  /** Throws `usage` for a server that has no `http://` or `https://` URL. */
  constructor(servers: readonly string[], access: ServerAccess) {
    if (servers.length === 0) throw new AnyserveError('usage', 'give the URL of an API server');
    this.#servers = servers.map(parseServer);
    this.#access = access;
    this.#connections = new HttpConnections(access.tls);
  }

  /** Number of servers. */
  get count(): number {
    return this.#servers.length;
  }

  /** Returns the server to use, and makes the next one the server to use. */
  takeNext(): string {
    const server = this.#servers[this.#current] as string;
    this.#advance();
    return server;
  }

  /** Asks one server after the other until one answers. Rejects with the failure of the last one. */
  async ask<T>(question: ApiRequest<T>): Promise<T> {
    const { signal, server: only } = question;
    const count = only === undefined ? this.#servers.length : 1;
    let failure: unknown;
    for (let asked = 0; asked < count; asked++) {
      const server = only ?? (this.#servers[this.#current] as string);
      try {
        return await this.#askOne(server, question);
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        failure = toUnreachableError(server, error);
        if (only === undefined) this.#advance();
      }
    }
    throw failure;
  }

  /** Sends a request with the present token. */
  send(request: HttpRequest): Promise<HttpResponse> {
    const token = this.#access.token?.();
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return this.#connections.send({ ...request, headers: { ...request.headers, ...authorization } });
  }

  /** Reads the body of an error response, up to 256 KiB. */
  readError(answer: HttpResponse, timeoutMs: number): Promise<string> {
    return this.#connections.readPrefix(answer, timeoutMs, MAX_ERROR_BYTES);
  }

  /** Reads a short body to its end, so that its connection serves the next request. Closes the connection of a long one. */
  async ignoreBody(answer: HttpResponse): Promise<void> {
    await this.#connections.readPrefix(answer, IGNORED_BODY_TIMEOUT_MS, MAX_IGNORED_BYTES).catch(() => {});
  }

  /** Reports whether a server answers at all. */
  async isAlive(server: string, signal: AbortSignal): Promise<boolean> {
    const request = { method: 'GET', url: `${server}/health`, headTimeoutMs: API_RESPONSE_TIMEOUT_MS, signal };
    try {
      await this.ignoreBody(await this.#connections.send(request));
      return true;
    } catch {
      return false;
    }
  }

  /** Closes every connection. */
  close(): void {
    this.#connections.close();
  }

  async #askOne<T>(server: string, question: ApiRequest<T>): Promise<T> {
    const {
      path,
      headers = {},
      timeoutMs = API_RESPONSE_TIMEOUT_MS,
      bodyTimeoutMs = timeoutMs,
      maxBytes,
      signal,
    } = question;
    const answer = await this.send({
      method: 'GET',
      url: `${server}${path}`,
      headers,
      headTimeoutMs: timeoutMs,
      signal,
    });
    const body =
      answer.status === 200
        ? await this.#connections.readText(answer, bodyTimeoutMs, maxBytes)
        : await this.readError(answer, timeoutMs);
    const parsed = question.parse(answer.status, body, answer.headers);
    if (parsed) return parsed.value;
    throw toUnexpectedResponseError(server, answer, body);
  }

  #advance(): void {
    this.#current = (this.#current + 1) % this.#servers.length;
  }
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
