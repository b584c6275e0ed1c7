import { setMaxListeners } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { REGISTRY_HEADER } from '../api/instance-json.js';
import type { AnyserveError } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import type { ClientTls } from '../core/tls.js';
import { HttpConnections, type HttpRequest, type HttpResponse } from '../http/http-client.js';
import { combineFailures, toUnexpectedResponseError, toUnreachableError } from './api-failure.js';
import type { ServerAddress, ServerList } from './server-list.js';
import { raceServers } from './server-race.js';

/** Timeout for a response of an API server, in ms. */
export const API_RESPONSE_TIMEOUT_MS = 3000;

/** Time for which a failed server is tried after all others, in ms. */
const ASKED_LAST_FOR_MS = 30_000;

/** Minimum time to wait for the other servers after the first response, in ms. */
const MIN_OTHER_RESPONSES_MS = 1000;

/** Maximum number of bytes read of an error response. A 422 response has an entry for each issue. */
const MAX_ERROR_BYTES = 256 * 1024;

/** Maximum size of a short body, such as one that is read only so that the connection can be reused. */
const MAX_SHORT_BYTES = 4 * 1024;

/** Timeout for a short body, in ms. */
const SHORT_BODY_TIMEOUT_MS = 1500;

/** Options of a request to the API servers. */
export interface ApiRequestOptions {
  readonly signal?: AbortSignal | undefined;
  /** Timeout for each server, in ms. */
  readonly timeoutMs?: number | undefined;
  /** The only server to ask. Default: all servers. */
  readonly server?: ServerAddress | undefined;
}

/** A GET request. */
export interface ApiRequest<T> {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly maxBytes: number;
  /** Timeout for the response, in ms. Default: 3,000. */
  readonly timeoutMs?: number | undefined;
  /** Timeout for the body, in ms. Default: `timeoutMs`. */
  readonly bodyTimeoutMs?: number;
  /** Whether the process can exit before the response. Default: false. */
  readonly isBackground?: boolean;
  /** Parses a response. Returns undefined for a response that an API server would not send. */
  readonly parse: (status: number, body: string, headers: IncomingHttpHeaders) => { readonly value: T } | undefined;
}

/** Sends a request to one server. The signal is aborted when its response is no longer needed. */
export type AskServer<T> = (server: ServerAddress, signal: AbortSignal) => Promise<T>;

/** The responses of all servers that responded in time. */
export interface AllResponses<T> {
  readonly responses: readonly { readonly server: ServerAddress; readonly value: T }[];
  /** Servers that failed or were too slow, each with its error. */
  readonly failures: readonly { readonly server: ServerAddress; readonly error: AnyserveError }[];
}

/** Token and TLS settings for the API servers. */
export interface ServerAccess {
  /** Returns the bearer token for the server with this URL in the list. Called for each request. */
  readonly token?: ((serverUrl: string) => string | undefined) | undefined;
  /** Returns the TLS settings for `https`. Called for each request. */
  readonly tls?: (() => ClientTls) | undefined;
}

/** Sends requests to API servers. A server that failed in the last 30 s is asked after the others. */
export class ApiServers {
  readonly #list: ServerList;
  readonly #clock: Clock;
  readonly #access: ServerAccess;
  readonly #connections: HttpConnections;
  /** When each server last failed. A response removes it. */
  readonly #failedAtMs = new Map<ServerAddress, number>();

  constructor(list: ServerList, clock: Clock, access: ServerAccess) {
    this.#list = list;
    this.#clock = clock;
    this.#access = access;
    this.#connections = new HttpConnections(access.tls);
  }

  /**
   * Asks one server after the other until a response is enough: see {@link raceServers}. Resolves to that response, or to
   * all responses if none is enough. Rejects if every server failed.
   */
  async askUntil<T>(
    isEnough: (value: T) => boolean,
    { server: onlyServer, signal }: ApiRequestOptions,
    ask: AskServer<T>,
  ): Promise<readonly T[]> {
    const servers = onlyServer ? [onlyServer] : this.#sortByFailure(await this.#list.get());
    const { values, failures, slow } = await raceServers(servers, { ask, isEnough, signal }, this.#clock);
    if (signal?.aborted) throw signal.reason;
    for (const server of slow) this.#failedAtMs.set(server, this.#clock.nowMs());
    if (values.length === 0) throw combineFailures(failures.map(toServerFailure));
    return values;
  }

  /**
   * Asks all servers at once. After the first response, waits for the others as long as that response took, and at least
   * 1 s. Rejects if no server responds.
   */
  async askAll<T>({ server: onlyServer, signal }: ApiRequestOptions, ask: AskServer<T>): Promise<AllResponses<T>> {
    const servers = onlyServer ? [onlyServer] : await this.#list.get();
    const startedAtMs = this.#clock.nowMs();
    const ended = new AbortController();
    // Each server's request adds a listener.
    setMaxListeners(0, ended.signal);
    let cancelTimeout: (() => void) | undefined;
    const onAbort = (): void => ended.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (signal?.aborted) onAbort();
    const responses: { server: ServerAddress; value: T }[] = [];
    const failures: { server: ServerAddress; error: unknown }[] = [];
    await Promise.all(
      servers.map(async (server) => {
        try {
          responses.push({ server, value: await ask(server, ended.signal) });
          const timeoutMs = Math.max(MIN_OTHER_RESPONSES_MS, this.#clock.nowMs() - startedAtMs);
          cancelTimeout ??= this.#clock.schedule(timeoutMs, () => ended.abort(createLateError()));
        } catch (error) {
          failures.push({ server, error: ended.signal.aborted ? ended.signal.reason : error });
        }
      }),
    );
    cancelTimeout?.();
    signal?.removeEventListener('abort', onAbort);
    if (signal?.aborted) throw signal.reason;
    const errors = failures.map(toServerFailure);
    if (responses.length === 0) throw combineFailures(errors);
    // In the order of the list, not of the responses.
    responses.sort((a, b) => servers.indexOf(a.server) - servers.indexOf(b.server));
    return { responses, failures: failures.map(({ server }, at) => ({ server, error: errors[at] as AnyserveError })) };
  }

  /** Sends a GET request to one server, and records whether the server failed. */
  async get<T>(server: ServerAddress, request: ApiRequest<T>, signal: AbortSignal): Promise<T> {
    try {
      const value = await this.#getValue(server, request, signal);
      this.#failedAtMs.delete(server);
      return value;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      this.#failedAtMs.set(server, this.#clock.nowMs());
      throw toUnreachableError(server, error);
    }
  }

  /** Sends a request to a server, with the current token. */
  send(
    server: ServerAddress,
    request: Omit<HttpRequest, 'url' | 'address'> & { readonly path: string },
  ): Promise<HttpResponse> {
    const { path, ...rest } = request;
    const token = this.getToken(server);
    const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` };
    return this.#connections.send({
      ...rest,
      url: `${server.url}${path}`,
      address: server.address,
      headers: { ...rest.headers, ...authorization },
    });
  }

  /** Returns the current token for a server. */
  getToken({ url, listedUrl = url }: ServerAddress): string | undefined {
    return this.#access.token?.(listedUrl);
  }

  /** Reads the body of an error response, up to 256 KiB. */
  readError(response: HttpResponse, timeoutMs: number): Promise<string> {
    return this.#connections.readPrefix(response, timeoutMs, MAX_ERROR_BYTES);
  }

  /** Reads a short body to its end so that the connection can be reused. Closes the connection if the body is long. */
  async ignoreBody(response: HttpResponse): Promise<void> {
    await this.readShortBody(response);
  }

  /** Reads a body of at most 4 KiB. Resolves to an empty text if it can't be read. */
  readShortBody(response: HttpResponse): Promise<string> {
    return this.#connections.readPrefix(response, SHORT_BODY_TIMEOUT_MS, MAX_SHORT_BYTES).catch(() => '');
  }

  /** Requests `GET /health`. Resolves to the response, which can have any status. Rejects if the server doesn't respond. */
  async checkHealth(server: ServerAddress, signal: AbortSignal): Promise<HttpResponse> {
    const { url, address } = server;
    const request = { method: 'GET', url: `${url}/health`, address, headTimeoutMs: API_RESPONSE_TIMEOUT_MS, signal };
    const response = await this.#connections.send(request);
    await this.ignoreBody(response);
    return response;
  }

  /** Closes all connections. */
  close(): void {
    this.#connections.close();
  }

  async #getValue<T>(server: ServerAddress, request: ApiRequest<T>, signal: AbortSignal): Promise<T> {
    const { path, headers = {}, timeoutMs = API_RESPONSE_TIMEOUT_MS, bodyTimeoutMs = timeoutMs, maxBytes } = request;
    const { isBackground } = request;
    const head = { method: 'GET', path, headers, headTimeoutMs: timeoutMs, signal, isBackground };
    const response = await this.send(server, head);
    const body =
      response.status === 200
        ? await this.#connections.readText(response, bodyTimeoutMs, maxBytes)
        : await this.readError(response, timeoutMs);
    const parsed = request.parse(response.status, body, response.headers);
    if (parsed) return parsed.value;
    throw toUnexpectedResponseError(server, response, body);
  }

  /** Returns the servers with those that failed in the last 30 s at the end. */
  #sortByFailure(servers: readonly ServerAddress[]): readonly ServerAddress[] {
    if (this.#failedAtMs.size === 0) return servers;
    const failedBeforeMs = this.#clock.nowMs() - ASKED_LAST_FOR_MS;
    const hasFailed = (server: ServerAddress): boolean => (this.#failedAtMs.get(server) ?? -Infinity) > failedBeforeMs;
    return [...servers.filter((server) => !hasFailed(server)), ...servers.filter(hasFailed)];
  }
}

function toServerFailure({
  server,
  error,
}: {
  readonly server: ServerAddress;
  readonly error: unknown;
}): AnyserveError {
  return toUnreachableError(server, error);
}

function createLateError(): Error {
  return Object.assign(new Error('no response in time'), { code: 'ETIMEDOUT' });
}

/** Returns the id of the registry that a server reports; undefined if it reports none. */
export function getRegistryId({ headers }: Pick<HttpResponse, 'headers'>): string | undefined {
  const id = headers[REGISTRY_HEADER];
  return typeof id === 'string' ? id : undefined;
}
