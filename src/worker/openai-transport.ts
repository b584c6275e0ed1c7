import { type HttpAnswer, HttpConnections } from '../client/http.js';
import { HTTP_PROBE_LIMIT_MS } from '../client/probe.js';
import { tlsFailure } from '../client/tls-failure.js';
import { lookup } from '../core/changing.js';
import { AnyserveError, messageOf } from '../core/errors.js';
import type { Clock } from '../core/ports.js';
import { quoted } from '../core/quoted.js';
import { trimTrailingSlashes } from '../core/trailing-slashes.js';
import { type Loose, saidIn, statusOf, UpstreamRefusal } from '../inference/openai-errors.js';
import { type JsonObject, jsonText } from '../wire/json.js';
import type { EngineQuestions } from './openai-engine.js';
import { parseOpenaiKey } from './openai-key.js';
import type { OpenaiSettings } from './openai-settings.js';
import { SilenceError, watchedChunks } from './openai-stream.js';
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
export interface ReadAnswer {
  readonly status: number;
  readonly headers: HttpAnswer['headers'];
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

  /** Throws `usage` for a URL or a key that can't be used. */
  constructor(options: OpenaiTransportOptions) {
    this.url = parseBase(options.url);
    this.root = this.url.replace(/\/v1$/, '');
    this.#options = options;
    this.#key = lookup(options.key);
    if (this.#key) parseOpenaiKey(this.#key());
    this.#connections = new HttpConnections(lookup(options.tls), options.proxy);
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
  questions(signal: AbortSignal): EngineQuestions {
    const ask = async (method: string, url: string, body?: string): Promise<Loose> => {
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
        const text = await this.#connections.text(answer, QUESTION_TIMEOUT_MS, MAX_DOCUMENT_BYTES);
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
  async get(url: string, withKey: boolean, signal: AbortSignal): Promise<ReadAnswer> {
    const headTimeoutMs = HTTP_PROBE_LIMIT_MS;
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
          ? this.#connections.text(answer, headTimeoutMs, MAX_DOCUMENT_BYTES)
          : this.#connections.beginning(answer, headTimeoutMs, MAX_ERROR_BYTES)),
      };
    } catch (error) {
      throw this.failure(error, signal, undefined, `no answer within ${HTTP_PROBE_LIMIT_MS / 1000} s`);
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
        body: jsonText(body),
        headTimeoutMs: timeoutMs,
        signal,
      });
      const onBytes = (): void => {
        this.#lastByteAtMs = clock.nowMs();
      };
      if (answer.status < 500) onBytes();
      if (answer.status !== 200) {
        const text = await this.#connections.beginning(answer, HTTP_PROBE_LIMIT_MS, MAX_ERROR_BYTES);
        throw this.refusal(answer.status, text, answer.headers);
      }
      // Engines send the head at once, and the first byte of the body when they have read the prompt.
      const firstByteMs = Math.max(1, timeoutMs - (clock.nowMs() - startedAtMs));
      return { answer, chunks: watchedChunks(answer.body, { clock, firstByteMs, idleMs: idleTimeoutMs, onBytes }) };
    } catch (error) {
      throw this.failure(error, signal);
    }
  }

  /** Returns what an answer or a part of one says; throws when that is an error, which can come with the status 200. */
  told(text: string, isError = false): Loose {
    const json = this.parsed(text);
    const failed = json.choices?.find?.((choice: Loose) => choice?.error);
    const error = json.object === 'error' || (isError && !json.error) ? json : (json.error ?? failed?.error);
    if (!error) return json;
    const words = typeof error === 'object' ? error : json;
    const body = failed ? JSON.stringify({ error }) : text;
    throw new UpstreamRefusal(statusOf(words), text, `${this.url} answers with an error: ${this.#said(body)}`);
  }

  /** Parses an answer that must be an object or an array. */
  parsed(text: string): Loose {
    if (hasTooManyContainers(text)) throw this.stranger(`over ${MAX_CONTAINERS} objects and arrays in one document`);
    let json: Loose;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw this.stranger(`no JSON: ${this.#withoutKeys(messageOf(cause))}`, cause);
    }
    if (typeof json === 'object' && json !== null) return json;
    throw this.stranger('no JSON object');
  }

  /** Returns what a connection's failure means to a caller; the signal's reason when we ended it. */
  failure(error: unknown, signal: AbortSignal, otherwise?: string, late = this.#lateness()): unknown {
    if (signal.aborted) return signal.reason;
    if (error instanceof AnyserveError) {
      const isTold = error.message.startsWith(this.url);
      return isTold ? error : new AnyserveError(error.code, `${this.url}: ${error.message}`);
    }
    const { code = '', syscall } = error as NodeJS.ErrnoException;
    // A connection that the system gave up has a syscall; one that we gave up has not.
    const isLate = (code === 'ETIMEDOUT' && syscall === undefined) || error instanceof SilenceError;
    if (isLate) {
      const reason = error instanceof SilenceError && !error.isFirstByte ? this.#silence() : late;
      return new AnyserveError('deadline_exceeded', `${this.#place}: ${reason}`, { cause: error });
    }
    const tls = tlsFailure(error)?.replaceAll('--tls-', '--openai-tls-');
    const reason = tls ?? otherwise ?? REASONS[code] ?? messageOf(error);
    return new AnyserveError('unavailable', `${this.#place}: ${reason}`, { cause: error });
  }

  #lateness(): string {
    return `no byte of its answer came within ${this.#options.timeoutMs / 1000} s; --openai-timeout sets this limit`;
  }

  #silence(): string {
    const limit = `${this.#options.idleTimeoutMs / 1000} s`;
    return `it sent nothing for ${limit} in the middle of its answer; --openai-idle-timeout sets this limit`;
  }

  /** The server, and the proxy before it, as messages name what a connection is to. */
  get #place(): string {
    const { proxy } = this.#options;
    return proxy ? `${this.url}, through the proxy ${proxy.name}` : this.url;
  }

  /** Returns what an answer that is an error means to a caller. */
  refusal(status: number, body: string, headers: HttpAnswer['headers'], url = this.url): UpstreamRefusal {
    const place = this.#options.proxy && url === this.url ? this.#place : url;
    const said = `${place} answers HTTP ${status}: ${this.#said(body)}${adviceFor(status, headers)}`;
    return new UpstreamRefusal(status, body, said);
  }

  /** Returns the failure of an answer that no OpenAI-compatible server gives. */
  stranger(what: string, cause?: unknown): AnyserveError {
    const message = `${this.url} answers, but not as an OpenAI-compatible server (${what}); check the URL`;
    return new AnyserveError('internal', message, { cause });
  }

  /** Returns what an error's body says, without a key that it repeats. */
  #said(body: string): string {
    return this.#withoutKeys(saidIn(body)).slice(0, 1000);
  }

  #withoutKeys(text: string): string {
    return this.#keysSent.reduce((rest, key) => rest.replaceAll(key, '***'), text);
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

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ECONNRESET: 'closed the connection without an answer',
  ETIMEDOUT: 'no connection in time',
};

/** Returns what to do about an answer that is an error, as far as it can be told. */
function adviceFor(status: number, headers: HttpAnswer['headers']): string {
  const { location, 'retry-after': retryAfter } = headers;
  if (status === 401) return '; give the worker a key in ANYSERVE_OPENAI_KEY or with --openai-key-file';
  if (status === 407) return '; give the proxy its user and password in the URL of HTTP_PROXY or HTTPS_PROXY';
  if (status < 400 && location !== undefined) return `; it points to ${location}, give the URL that this is below`;
  if (retryAfter === undefined) return '';
  return `; try again after ${retryAfter}${/^\d+$/.test(retryAfter) ? ' s' : ''}`;
}

function parseBase(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isHttp = url?.protocol === 'http:' || url?.protocol === 'https:';
  if (url?.username || url?.password) {
    throw new AnyserveError(
      'usage',
      `the URL of ${url.host} holds a user name or password, which others can see; give a key in ANYSERVE_OPENAI_KEY or with --openai-key-file`,
    );
  }
  if (isHttp && url.search === '' && url.hash === '') return trimTrailingSlashes(text);
  throw new AnyserveError(
    'usage',
    `${quoted(text)} is no base URL of an OpenAI-compatible server; give one like http://localhost:8000/v1`,
  );
}
