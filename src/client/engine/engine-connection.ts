import { AnyserveError, getErrorMessage } from '../../core/errors.js';
import { toGetter } from '../../core/options.js';
import { HttpConnections, type HttpResponse } from '../../http/http-client.js';
import type { UntrustedJson, UpstreamError } from '../../inference/openai-errors.js';
import { HTTP_PROBE_TIMEOUT_MS } from '../probe.js';
import type { EngineQueries } from './engine-facts.js';
import type { EngineSettings } from './engine-settings.js';
import { parseOpenaiKey, parseOpenaiUrl } from './openai-access.js';
import { OpenaiFailures } from './openai-failures.js';
import type { UpstreamProxy } from './upstream-proxy.js';

/** Options of an {@link EngineConnection}. */
export interface EngineConnectionOptions extends Omit<EngineSettings, 'probePath'> {
  /** Forward proxy. Default: direct connections. */
  readonly proxy?: UpstreamProxy | undefined;
}

/** Timeout for optional queries about an engine and its models, in ms. */
const ENGINE_QUERY_TIMEOUT_MS = 3000;

/** Maximum size of a list of models or a document about the engine. */
const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024;

/** Maximum size of the metrics of an engine. */
const MAX_METRICS_BYTES = 4 * 1024 * 1024;

/** Maximum size of the body of an error response. */
const MAX_ERROR_BYTES = 64 * 1024;

/** Maximum number of objects and arrays in one document. */
const MAX_CONTAINERS = 1_000_000;

/** Request headers. Without `identity`, some servers compress streams, which delays their events. */
const PLAIN_HEADERS = { accept: 'application/json', 'accept-encoding': 'identity' };

/** Status, headers and body of a response. The body can be truncated. */
export interface EngineDocument {
  readonly status: number;
  readonly headers: HttpResponse['headers'];
  readonly text: string;
}

/** Sends requests to an OpenAI-compatible server with its key, limits and proxy, and converts failures to errors. */
export class EngineConnection {
  /** Base URL, as shown in messages. */
  readonly url: string;
  /** Base URL without `/v1`, where engines have their own endpoints. */
  readonly root: string;
  readonly #key: (() => string) | undefined;
  /** The last two keys, to redact them in responses. */
  #sentKeys: readonly string[] = [];
  readonly #connections: HttpConnections;
  /** For the metrics, so that reading them neither waits for calls nor delays them. */
  readonly #metricsConnections: HttpConnections;

  /** Creates errors for failures of this server. */
  readonly failures: OpenaiFailures;

  /** Throws `usage` for a URL or a key that can't be used. */
  constructor({ url, key, tls, proxy }: EngineConnectionOptions) {
    this.url = parseOpenaiUrl(url);
    if (tls !== undefined && !this.url.startsWith('https:')) {
      throw new AnyserveError('usage', `${this.url} does not use TLS: give an https URL, or no TLS options for it`);
    }
    this.failures = new OpenaiFailures(this.url, { tls, proxy }, () => this.#sentKeys);
    this.root = this.url.replace(/\/v1$/, '');
    this.#key = toGetter(key);
    if (this.#key) parseOpenaiKey(this.#key());
    this.#connections = new HttpConnections(toGetter(tls), proxy);
    this.#metricsConnections = new HttpConnections(toGetter(tls), proxy);
  }

  /** Closes all connections. */
  close(): void {
    this.#connections.close();
    this.#metricsConnections.close();
  }

  get #authorization(): Record<string, string> {
    if (!this.#key) return {};
    const key = parseOpenaiKey(this.#key());
    if (!this.#sentKeys.includes(key)) this.#sentKeys = [key, ...this.#sentKeys].slice(0, 2);
    return { authorization: `Bearer ${key}` };
  }

  /** Returns queries about the engine. A failed query resolves to undefined. */
  createEngineQueries(signal: AbortSignal): EngineQueries {
    const query = async (method: string, url: string, body?: string): Promise<UntrustedJson> => {
      try {
        const response = await this.#send(method, url, body, ENGINE_QUERY_TIMEOUT_MS, signal);
        const text = await this.#connections.readText(response, ENGINE_QUERY_TIMEOUT_MS, MAX_DOCUMENT_BYTES);
        return response.status === 200 ? this.parseDocument(text) : undefined;
      } catch {
        // The facts stay unknown; the user can set them.
        return undefined;
      }
    };
    const baseUrls = { base: this.url, root: this.root };
    return {
      get: (base, path) => query('GET', `${baseUrls[base]}${path}`),
      post: (base, path, body) => query('POST', `${baseUrls[base]}${path}`, body),
    };
  }

  /** Fetches the engine's metrics. Resolves to undefined if it has none, and rejects if it doesn't respond in time. */
  async fetchMetrics(signal: AbortSignal): Promise<string | undefined> {
    const response = await this.#metricsConnections.send({
      method: 'GET',
      url: `${this.root}/metrics`,
      headers: { ...PLAIN_HEADERS, accept: 'text/plain', ...this.#authorization },
      signal,
      headTimeoutMs: ENGINE_QUERY_TIMEOUT_MS,
    });
    if (response.status === 200) {
      return this.#metricsConnections.readText(response, ENGINE_QUERY_TIMEOUT_MS, MAX_METRICS_BYTES);
    }
    response.body.destroy();
    return undefined;
  }

  /** Fetches a document, with or without the key. */
  async get(url: string, withKey: boolean, signal: AbortSignal): Promise<EngineDocument> {
    const headTimeoutMs = HTTP_PROBE_TIMEOUT_MS;
    try {
      const response = await this.#connections.send({
        method: 'GET',
        url,
        headers: { ...PLAIN_HEADERS, ...(withKey && this.#authorization) },
        signal,
        headTimeoutMs,
      });
      this.failures.checkResponse(response);
      const { status } = response;
      return {
        status,
        headers: response.headers,
        text: await (status === 200
          ? this.#connections.readText(response, headTimeoutMs, MAX_DOCUMENT_BYTES)
          : this.#connections.readPrefix(response, headTimeoutMs, MAX_ERROR_BYTES)),
      };
    } catch (error) {
      throw this.failures.toConnectionError(error, signal, `no response within ${HTTP_PROBE_TIMEOUT_MS / 1000} s`);
    }
  }

  /**
   * Sends a request with a JSON body to a path below the base URL. Resolves when the head of a response has arrived, whatever
   * its status.
   */
  async post(path: string, body: string, headTimeoutMs: number, signal: AbortSignal): Promise<HttpResponse> {
    const response = await this.#send('POST', `${this.url}${path}`, body, headTimeoutMs, signal);
    this.failures.checkResponse(response);
    return response;
  }

  /** Creates the error for a response with an error status. Reads the start of its body. */
  async readStatusError(response: HttpResponse): Promise<UpstreamError> {
    const text = await this.#connections.readPrefix(response, HTTP_PROBE_TIMEOUT_MS, MAX_ERROR_BYTES);
    return this.failures.createStatusError(response.status, text, response.headers);
  }

  #send(
    method: string,
    url: string,
    body: string | undefined,
    headTimeoutMs: number,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const hasBody = body !== undefined;
    return this.#connections.send({
      method,
      url,
      headers: { ...PLAIN_HEADERS, ...this.#authorization, ...(hasBody && { 'content-type': 'application/json' }) },
      ...(hasBody && { body }),
      signal,
      headTimeoutMs,
    });
  }

  /** Parses JSON that must be an object or an array. */
  parseDocument(text: string): UntrustedJson {
    if (hasTooManyContainers(text))
      throw this.failures.createIncompatibleError(`more than ${MAX_CONTAINERS} objects and arrays in one document`);
    if (text.trim() === '') throw this.failures.createIncompatibleError('its response is empty');
    let json: UntrustedJson;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw this.failures.createIncompatibleError(
        `not JSON: ${this.failures.redactKeys(getErrorMessage(cause))}`,
        cause,
      );
    }
    if (typeof json === 'object' && json !== null) return json;
    throw this.failures.createIncompatibleError('not a JSON object');
  }
}

/**
 * Returns whether a string has so many objects and arrays that parsing it would take far more memory than the string: `[]`
 * takes 50 bytes.
 */
function hasTooManyContainers(text: string): boolean {
  // Each container takes at least two characters and a comma.
  if (text.length < 3 * MAX_CONTAINERS) return false;
  let count = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    if ((unit === 0x5b || unit === 0x7b) && ++count > MAX_CONTAINERS) return true;
  }
  return false;
}
