import type { IncomingHttpHeaders } from 'node:http';
import { AnyserveError } from '../core/errors.js';
import type { ClientTls } from '../core/tls.js';
import { HttpConnections, type HttpRequest, type HttpResponse } from '../http/http-client.js';
import { trimTrailingSlashes } from '../http/request-head.js';
import { toUnexpectedResponseError, toUnreachableError } from './api-failure.js';

/** Timeout for a response of an API server, in ms. After it, the next server is tried. */
export const API_RESPONSE_TIMEOUT_MS = 3000;

/** Maximum number of bytes read of an error response. A 422 response has an entry for each issue. */
const MAX_ERROR_BYTES = 256 * 1024;

/** Maximum size of a body that is read only so that the connection can be reused. */
const MAX_IGNORED_BYTES = 4 * 1024;

/** Timeout for a body that is ignored, in ms. */
const IGNORED_BODY_TIMEOUT_MS = 1500;

/** Options of a request to the API servers. */
export interface ApiRequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Timeout for each server, in ms. */
  readonly timeoutMs?: number | undefined;
  /** The only server to use. Default: all servers, one after the other. */
  readonly server?: string | undefined;
}

/** A GET request that any of the servers can handle. */
export interface ApiRequest<T> extends ApiRequestOptions {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly maxBytes: number;
  /** Timeout for the body, in ms. Default: `timeoutMs`. */
  readonly bodyTimeoutMs?: number;
  /** Parses a response. Returns undefined for a response that no API server gives. */
  readonly parse: (status: number, body: string, headers: IncomingHttpHeaders) => { readonly value: T } | undefined;
}

/** Token and TLS settings for the API servers. */
export interface ServerAccess {
  /** Returns the bearer token. Called for each request. */
  readonly token?: (() => string) | undefined;
  /** Returns the TLS settings for `https`. Called for each request. */
  readonly tls?: (() => ClientTls) | undefined;
}

/** API servers with failover: a request goes to the server that responded last, then to the next ones in the list. */
export class ApiServers {
  readonly #servers: readonly string[];
  readonly #access: ServerAccess;
  readonly #connections: HttpConnections;
  #current = 0;

  /** Throws `usage` for a server whose URL isn't `http://` or `https://`. */
  constructor(servers: readonly string[], access: ServerAccess) {
    if (servers.length === 0) throw new AnyserveError('usage', 'no API server given; give the URL of one or more');
    this.#servers = servers.map(parseServerUrl);
    this.#access = access;
    this.#connections = new HttpConnections(access.tls);
  }

  /** Number of servers. */
  get count(): number {
    return this.#servers.length;
  }

  /** Returns the current server and advances to the next one. */
  takeNext(): string {
    const server = this.#servers[this.#current] as string;
    this.#advance();
    return server;
  }

  /** Sends the request to one server after the other until one responds. Rejects with the error of the last one. */
  async request<T>(request: ApiRequest<T>): Promise<T> {
    const { signal, server: fixedServer } = request;
    const maxAttempts = fixedServer === undefined ? this.#servers.length : 1;
    let lastError: unknown;
    for (let attempt = 0; attempt < maxAttempts; attempt++) {
      const server = fixedServer ?? (this.#servers[this.#current] as string);
      try {
        return await this.#requestFrom(server, request);
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        lastError = toUnreachableError(server, error);
        if (fixedServer === undefined) this.#advance();
      }
    }
    throw lastError;
  }

  /** Sends a request with the current token. */
  send(request: HttpRequest): Promise<HttpResponse> {
    const token = this.#access.token?.();
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return this.#connections.send({ ...request, headers: { ...request.headers, ...authorization } });
  }

  /** Reads the body of an error response, up to 256 KiB. */
  readError(response: HttpResponse, timeoutMs: number): Promise<string> {
    return this.#connections.readPrefix(response, timeoutMs, MAX_ERROR_BYTES);
  }

  /** Reads a short body to its end so that the connection can be reused. Closes the connection if the body is long. */
  async ignoreBody(response: HttpResponse): Promise<void> {
    await this.#connections.readPrefix(response, IGNORED_BODY_TIMEOUT_MS, MAX_IGNORED_BYTES).catch(() => {});
  }

  /** Returns whether a server responds to `GET /health`, with any status. */
  async isAlive(server: string, signal: AbortSignal): Promise<boolean> {
    const request = { method: 'GET', url: `${server}/health`, headTimeoutMs: API_RESPONSE_TIMEOUT_MS, signal };
    try {
      await this.ignoreBody(await this.#connections.send(request));
      return true;
    } catch {
      return false;
    }
  }

  /** Closes all connections. */
  close(): void {
    this.#connections.close();
  }

  async #requestFrom<T>(server: string, request: ApiRequest<T>): Promise<T> {
    const {
      path,
      headers = {},
      timeoutMs = API_RESPONSE_TIMEOUT_MS,
      bodyTimeoutMs = timeoutMs,
      maxBytes,
      signal,
    } = request;
    const response = await this.send({
      method: 'GET',
      url: `${server}${path}`,
      headers,
      headTimeoutMs: timeoutMs,
      signal,
    });
    const body =
      response.status === 200
        ? await this.#connections.readText(response, bodyTimeoutMs, maxBytes)
        : await this.readError(response, timeoutMs);
    const parsed = request.parse(response.status, body, response.headers);
    if (parsed) return parsed.value;
    throw toUnexpectedResponseError(server, response, body);
  }

  #advance(): void {
    this.#current = (this.#current + 1) % this.#servers.length;
  }
}

function parseServerUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.username || url?.password) {
    const advice = 'give a token with --token-file or in ANYSERVE_TOKEN';
    throw new AnyserveError(
      'usage',
      `the URL of ${url.host} contains a user name or password, which other users can see; ${advice}`,
    );
  }
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (isHttp && url.search === '' && url.hash === '') return trimTrailingSlashes(text);
  throw new AnyserveError(
    'usage',
    `${JSON.stringify(text)} is not an API server URL; give one like http://localhost:8080`,
  );
}
