import { HTTP_PROBE_TIMEOUT_MS } from '../client/probe.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import { toGetter } from '../core/options.js';
import type { Clock } from '../core/ports.js';
import { HttpConnections, type HttpResponse } from '../http/http-client.js';
import { getErrorStatus, type UntrustedJson, UpstreamError, unwrapError } from '../inference/openai-errors.js';
import { type JsonObject, serializeJson } from '../json/json-value.js';
import { parseOpenaiKey, parseOpenaiUrl } from './openai-access.js';
import type { EngineQueries } from './openai-engine.js';
import { OpenaiFailures } from './openai-failures.js';
import type { OpenaiSettings } from './openai-settings.js';
import { readChunksWithTimeout } from './openai-stream.js';
import type { UpstreamProxy } from './upstream-proxy.js';

/** Options of an {@link OpenaiTransport}. */
export interface OpenaiTransportOptions
  extends Pick<OpenaiSettings, 'url' | 'key' | 'timeoutMs' | 'idleTimeoutMs' | 'tls'> {
  /** Forward proxy. Default: direct connections. */
  readonly proxy?: UpstreamProxy | undefined;
  readonly clock: Clock;
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
export interface OpenaiResponse {
  readonly status: number;
  readonly headers: HttpResponse['headers'];
  readonly text: string;
}

/** Sends requests to an OpenAI-compatible server with its key, limits and proxy, and converts failures to errors. */
export class OpenaiTransport {
  /** Base URL, as shown in messages. */
  readonly url: string;
  /** Base URL without `/v1`, where engines have their own endpoints. */
  readonly root: string;
  readonly #options: OpenaiTransportOptions;
  readonly #key: (() => string) | undefined;
  /** The last two keys, to redact them in responses. */
  #sentKeys: readonly string[] = [];
  readonly #connections: HttpConnections;
  /** For the metrics, so that reading them neither waits for calls nor delays them. */
  readonly #metricsConnections: HttpConnections;
  #lastByteAtMs = Number.NEGATIVE_INFINITY;

  /** Creates errors for failures of this server. */
  readonly failures: OpenaiFailures;

  /** Throws `usage` for a URL or a key that can't be used. */
  constructor(options: OpenaiTransportOptions) {
    this.url = parseOpenaiUrl(options.url);
    if (options.tls !== undefined && !this.url.startsWith('https:')) {
      throw new AnyserveError('usage', `${this.url} does not use TLS: give an https URL, or no TLS options for it`);
    }
    this.failures = new OpenaiFailures(this.url, options, () => this.#sentKeys);
    this.root = this.url.replace(/\/v1$/, '');
    this.#options = options;
    this.#key = toGetter(options.key);
    if (this.#key) parseOpenaiKey(this.#key());
    this.#connections = new HttpConnections(toGetter(options.tls), options.proxy);
    this.#metricsConnections = new HttpConnections(toGetter(options.tls), options.proxy);
  }

  /** Returns whether any byte of a response to a call has arrived since this time. */
  hasRespondedSince(timeMs: number): boolean {
    return this.#lastByteAtMs >= timeMs;
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
        const response = await this.#connections.send({
          method,
          url,
          headers: {
            ...PLAIN_HEADERS,
            ...this.#authorization,
            ...(body !== undefined && { 'content-type': 'application/json' }),
          },
          ...(body !== undefined && { body }),
          signal,
          headTimeoutMs: ENGINE_QUERY_TIMEOUT_MS,
        });
        const text = await this.#connections.readText(response, ENGINE_QUERY_TIMEOUT_MS, MAX_DOCUMENT_BYTES);
        return response.status === 200 ? this.parseDocument(text) : undefined;
      } catch {
        // The type stays unknown; the user can set it.
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
  async get(url: string, withKey: boolean, signal: AbortSignal): Promise<OpenaiResponse> {
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
      throw this.failures.toConnectionError(
        error,
        signal,
        undefined,
        `no response within ${HTTP_PROBE_TIMEOUT_MS / 1000} s`,
      );
    }
  }

  /** Sends a request and resolves when the response's headers have arrived. Rejects for an error status. */
  async open(path: string, body: JsonObject, signal: AbortSignal) {
    const { clock, timeoutMs, idleTimeoutMs } = this.#options;
    const startedAtMs = clock.nowMs();
    const url = `${this.url}${path}`;
    try {
      const response = await this.#connections.send({
        method: 'POST',
        url,
        headers: { ...PLAIN_HEADERS, 'content-type': 'application/json', ...this.#authorization },
        body: serializeJson(body),
        headTimeoutMs: timeoutMs,
        signal,
      });
      this.failures.checkResponse(response);
      const onBytes = (): void => {
        this.#lastByteAtMs = clock.nowMs();
      };
      if (response.status < 500) onBytes();
      if (response.status !== 200) {
        const text = await this.#connections.readPrefix(response, HTTP_PROBE_TIMEOUT_MS, MAX_ERROR_BYTES);
        throw this.failures.createStatusError(response.status, text, response.headers);
      }
      // Engines send the headers immediately, and the first byte of the body after processing the prompt.
      const firstByteMs = Math.max(1, timeoutMs - (clock.nowMs() - startedAtMs));
      return {
        response,
        chunks: readChunksWithTimeout(response.body, { clock, firstByteMs, idleMs: idleTimeoutMs, onBytes }),
      };
    } catch (error) {
      throw this.failures.toConnectionError(error, signal);
    }
  }

  /** Parses a response or an event. Throws if it is an error, which can also have the status 200. */
  parseResponse(text: string, isError = false): UntrustedJson {
    const json = unwrapError(isError ? parseErrorEvent(text) : this.parseDocument(text));
    const failedChoice = json.choices?.find?.((choice: UntrustedJson) => choice?.error);
    const isBare = json.object === 'error' || isError || isBareError(json);
    const error = json.error || failedChoice?.error || (isBare && json);
    if (!error) return json;
    const errorFields = typeof error === 'object' ? error : json;
    const body = failedChoice ? JSON.stringify({ error }) : text;
    throw new UpstreamError(
      getErrorStatus(errorFields),
      text,
      `${this.url} returned an error: ${this.failures.extractMessage(body)}`,
    );
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

/** Returns whether a document is an error without an `error` field: `{"message":"..."}`, or FastAPI's `{"detail":...}`. */
function isBareError({ choices, data, message, detail, errors }: UntrustedJson): boolean {
  return !choices && !data && (typeof message === 'string' || Boolean(detail) || Array.isArray(errors));
}

/** Parses the data of an error event: a JSON document or plain text. */
function parseErrorEvent(text: string): UntrustedJson {
  try {
    const json: unknown = text.length > MAX_ERROR_BYTES ? undefined : JSON.parse(text);
    if (typeof json === 'object' && json !== null) return json;
  } catch {
    // The data is not JSON, so it is plain text.
  }
  return { message: text };
}
