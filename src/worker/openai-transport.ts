import { HTTP_PROBE_TIMEOUT_MS } from '../client/probe.js';
import { getErrorMessage } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { toGetter } from '../core/value-or-getter.js';
import { HttpConnections, type HttpResponse } from '../http/http-client.js';
import { getErrorStatus, type UntrustedJson, UpstreamError } from '../inference/openai-errors.js';
import { type JsonObject, serializeJson } from '../json/exact-json.js';
import { parseOpenaiKey, parseOpenaiUrl } from './openai-access.js';
import type { EngineQueries } from './openai-engine.js';
import { OpenaiFailures } from './openai-failures.js';
import type { OpenaiSettings } from './openai-settings.js';
import { readChunksWithTimeout } from './openai-stream.js';
import type { UpstreamProxy } from './upstream-proxy.js';

/** How to reach an OpenAI-compatible server. */
export interface OpenaiTransportOptions
  extends Pick<OpenaiSettings, 'url' | 'key' | 'timeoutMs' | 'idleTimeoutMs' | 'tls'> {
  /** Default: connections are direct. */
  readonly proxy?: UpstreamProxy | undefined;
  readonly clock: Clock;
}

/** Time for a question that only makes more of a model known, in ms. */
const QUESTION_TIMEOUT_MS = 3000;

/** Maximum bytes of a list or a document about the engine, and of an error. */
const MAX_DOCUMENT_BYTES = 8 * 1024 * 1024;
const MAX_ERROR_BYTES = 64 * 1024;

/** Maximum number of objects and arrays in one document. */
const MAX_CONTAINERS = 1_000_000;

/** Without `identity` some servers compress, and a compressed stream comes in lumps. */
const PLAIN = { accept: 'application/json', 'accept-encoding': 'identity' };

/** An answer's status, headers and text, as far as it is read. */
export interface OpenaiResponse {
  readonly status: number;
  readonly headers: HttpResponse['headers'];
  readonly text: string;
}

/** Requests to an OpenAI-compatible server, with its key, its limits and its proxy, and what their failures mean. */
export class OpenaiTransport {
  /** The base URL, as messages show it. */
  readonly url: string;
  /** The base URL without `/v1`, where engines have their own endpoints. */
  readonly root: string;
  readonly #options: OpenaiTransportOptions;
  readonly #key: (() => string) | undefined;
  /** The last two keys, which an answer can repeat. */
  #keysSent: readonly string[] = [];
  readonly #connections: HttpConnections;
  #lastByteAtMs = Number.NEGATIVE_INFINITY;

  /** Failures of this server, as callers see them. */
  readonly failures: OpenaiFailures;

  /** Throws `usage` for a URL or a key that can't be used. */
  constructor(options: OpenaiTransportOptions) {
    this.url = parseOpenaiUrl(options.url);
    this.failures = new OpenaiFailures(this.url, options, () => this.#keysSent);
    this.root = this.url.replace(/\/v1$/, '');
    this.#options = options;
    this.#key = toGetter(options.key);
    if (this.#key) parseOpenaiKey(this.#key());
    this.#connections = new HttpConnections(toGetter(options.tls), options.proxy);
  }

  /** Whether an answer to a call has arrived, or a byte of one, since this time. */
  hasAnsweredSince(timeMs: number): boolean {
    return this.#lastByteAtMs >= timeMs;
  }

  /** Ends every connection. */
  close(): void {
    this.#connections.close();
  }

  get #authorization(): Record<string, string> {
    if (!this.#key) return {};
    const key = parseOpenaiKey(this.#key());
    if (!this.#keysSent.includes(key)) this.#keysSent = [key, ...this.#keysSent].slice(0, 2);
    return { authorization: `Bearer ${key}` };
  }

  /** Returns questions about the engine, whose failures count as no answer. */
  questions(signal: AbortSignal): EngineQueries {
    const ask = async (method: string, url: string, body?: string): Promise<UntrustedJson> => {
      try {
        const answer = await this.#connections.send({
          method,
          url,
          headers: {
            ...PLAIN,
            ...this.#authorization,
            ...(body !== undefined && { 'content-type': 'application/json' }),
          },
          ...(body !== undefined && { body }),
          signal,
          headTimeoutMs: QUESTION_TIMEOUT_MS,
        });
        const text = await this.#connections.readText(answer, QUESTION_TIMEOUT_MS, MAX_DOCUMENT_BYTES);
        return answer.status === 200 ? this.parsed(text) : undefined;
      } catch {
        // Without an answer the type stays unknown: the user can say what a model is for.
        return undefined;
      }
    };
    const base = { base: this.url, root: this.root };
    return {
      get: (where, path) => ask('GET', `${base[where]}${path}`),
      post: (where, path, body) => ask('POST', `${base[where]}${path}`, body),
    };
  }

  /** Asks for a document, with the key or without. */
  async get(url: string, withKey: boolean, signal: AbortSignal): Promise<OpenaiResponse> {
    const headTimeoutMs = HTTP_PROBE_TIMEOUT_MS;
    try {
      const answer = await this.#connections.send({
        method: 'GET',
        url,
        headers: { ...PLAIN, ...(withKey && this.#authorization) },
        signal,
        headTimeoutMs,
      });
      const { status } = answer;
      return {
        status,
        headers: answer.headers,
        text: await (status === 200
          ? this.#connections.readText(answer, headTimeoutMs, MAX_DOCUMENT_BYTES)
          : this.#connections.readPrefix(answer, headTimeoutMs, MAX_ERROR_BYTES)),
      };
    } catch (error) {
      throw this.failures.failure(error, signal, undefined, `no answer within ${HTTP_PROBE_TIMEOUT_MS / 1000} s`);
    }
  }

  /** Asks for an answer, and returns it once its head is there. Rejects with what its status means. */
  async open(path: string, body: JsonObject, signal: AbortSignal) {
    const { clock, timeoutMs, idleTimeoutMs } = this.#options;
    const startedAtMs = clock.nowMs();
    const url = `${this.url}${path}`;
    try {
      const answer = await this.#connections.send({
        method: 'POST',
        url,
        headers: { ...PLAIN, 'content-type': 'application/json', ...this.#authorization },
        body: serializeJson(body),
        headTimeoutMs: timeoutMs,
        signal,
      });
      const onBytes = (): void => {
        this.#lastByteAtMs = clock.nowMs();
      };
      if (answer.status < 500) onBytes();
      if (answer.status !== 200) {
        const text = await this.#connections.readPrefix(answer, HTTP_PROBE_TIMEOUT_MS, MAX_ERROR_BYTES);
        throw this.failures.refusal(answer.status, text, answer.headers);
      }
      // Engines send the head at once, and the first byte of the body when they have read the prompt.
      const firstByteMs = Math.max(1, timeoutMs - (clock.nowMs() - startedAtMs));
      return {
        answer,
        chunks: readChunksWithTimeout(answer.body, { clock, firstByteMs, idleMs: idleTimeoutMs, onBytes }),
      };
    } catch (error) {
      throw this.failures.failure(error, signal);
    }
  }

  /** Returns what an answer or a part of one says; throws when that is an error, which can come with the status 200. */
  told(text: string, isError = false): UntrustedJson {
    const json = isError ? errorFrom(text) : this.parsed(text);
    const failed = json.choices?.find?.((choice: UntrustedJson) => choice?.error);
    const isBare = json.object === 'error' || isError || isBareError(json);
    const error = json.error || failed?.error || (isBare && json);
    if (!error) return json;
    const words = typeof error === 'object' ? error : json;
    const body = failed ? JSON.stringify({ error }) : text;
    throw new UpstreamError(
      getErrorStatus(words),
      text,
      `${this.url} answers with an error: ${this.failures.said(body)}`,
    );
  }

  /** Parses an answer that must be an object or an array. */
  parsed(text: string): UntrustedJson {
    if (hasTooManyContainers(text))
      throw this.failures.stranger(`over ${MAX_CONTAINERS} objects and arrays in one document`);
    let json: UntrustedJson;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw this.failures.stranger(`no JSON: ${this.failures.withoutKeys(getErrorMessage(cause))}`, cause);
    }
    if (typeof json === 'object' && json !== null) return json;
    throw this.failures.stranger('no JSON object');
  }
}

/** Whether a text has so many objects and arrays that they would take far more memory than the text: `[]` takes 50 bytes. */
function hasTooManyContainers(text: string): boolean {
  // Each takes at least two characters and a comma.
  if (text.length < 3 * MAX_CONTAINERS) return false;
  let count = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if ((unit === 0x5b || unit === 0x7b) && ++count > MAX_CONTAINERS) return true;
  }
  return false;
}

/** Whether a document is an error of a server that puts its text at the top: `{"message":"..."}`, FastAPI's `{"detail":...}`. */
function isBareError({ choices, data, message, detail, errors }: UntrustedJson): boolean {
  return !choices && !data && (typeof message === 'string' || Boolean(detail) || Array.isArray(errors));
}

/** What an event says that is an error by its name: a document, or a plain text. */
function errorFrom(text: string): UntrustedJson {
  try {
    const json: unknown = text.length > MAX_ERROR_BYTES ? undefined : JSON.parse(text);
    if (typeof json === 'object' && json !== null) return json;
  } catch {
    // A plain text.
  }
  return { message: text };
}
