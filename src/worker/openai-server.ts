import { createParser } from 'eventsource-parser';
import { type HttpAnswer, HttpConnections } from '../client/http.js';
import { AnyserveError, messageOf } from '../core/errors.js';
import { trimTrailingSlashes } from '../core/trailing-slashes.js';
import { type JsonObject, jsonText } from '../wire/json.js';
import { createLineFeeds } from '../wire/line-feeds.js';
import { codeOf, type Loose, saidIn, statusOf } from './openai-errors.js';

/** How to reach an OpenAI-compatible server. */
export interface OpenaiServerOptions {
  /** The base that `/models` and `/chat/completions` stand below: `http://localhost:8000/v1`. */
  readonly url: string;
  /** Sent as the bearer token; never logged, and taken out of what the server says. */
  readonly key: string | undefined;
  /** How long the server may take to answer, and between two parts of an answer, in milliseconds. */
  readonly timeoutMs: number;
}

/** How long the server may take to say whether it is well, and what it has. */
const LOOK_TIMEOUT_MS = 3000;

/** The largest whole answer that is read; 2,048 embeddings of 4,096 dimensions are about 100 MB. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/** What we can read: who is not told may compress, and a compressed stream comes in lumps. */
const PLAIN = { accept: 'application/json', 'accept-encoding': 'identity' };

/** The HTTP side of an OpenAI-compatible server: what it is asked, and what its failures mean. */
export class OpenaiServer {
  /** The base URL, as messages show it. */
  readonly url: string;
  readonly #key: string | undefined;
  readonly #timeoutMs: number;
  readonly #connections = new HttpConnections();

  /** Throws `usage` for a URL or a key that cannot be used. */
  constructor({ url, key, timeoutMs }: OpenaiServerOptions) {
    this.url = parseBase(url);
    this.#key = key === undefined ? undefined : parseKey(key);
    this.#timeoutMs = timeoutMs;
  }

  /** The names of the models on offer; undefined when the server has no such list. */
  async models(signal: AbortSignal): Promise<string[] | undefined> {
    const { status, text } = await this.#get(`${this.url}/models`, this.#authorization, signal);
    if (status === 404 || status === 405 || status === 501) return undefined;
    if (status !== 200) throw this.#refusal(status, text);
    const { data } = this.#parsed(text);
    if (!Array.isArray(data)) throw this.stranger('its list of models is none');
    return data.map(({ id }: Loose) => String(id));
  }

  /**
   * Resolves when the server says that it is well. `/health` beside the base tells, where there is one: vLLM, SGLang
   * and llama.cpp have it, and theirs also fails while a model is being loaded. It needs no key and gets none.
   */
  async checkHealth(signal: AbortSignal): Promise<void> {
    const { status, text } = await this.#get(`${this.url.replace(/\/v1$/, '')}/health`, {}, signal);
    if (status >= 500) throw this.#refusal(status, text);
  }

  /** Asks for one whole answer. Rejects with what the failure means, or with the signal's reason. */
  async post(path: string, body: JsonObject, signal: AbortSignal): Promise<Loose> {
    const answer = await this.#open(path, body, signal);
    return this.#told(await this.#text(answer, this.#timeoutMs, signal));
  }

  /**
   * Asks for an answer in parts, and gives each as it comes. A server that knows no parts gives the whole as one.
   * Rejects as {@link post} does, also when the stream breaks off.
   */
  async *events(path: string, body: JsonObject, signal: AbortSignal): AsyncGenerator<Loose> {
    const answer = await this.#open(path, body, signal);
    if (!/^text\/event-stream\b/i.test(answer.headers['content-type'] ?? '')) {
      yield this.#told(await this.#text(answer, this.#timeoutMs, signal));
      return;
    }
    const waiting: string[] = [];
    const parser = createParser({ onEvent: ({ data }) => void waiting.push(data) });
    const decoder = new TextDecoder();
    const lineFeeds = createLineFeeds();
    let isDone = false;
    try {
      for await (const chunk of answer.body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        parser.feed(lineFeeds(decoder.decode(chunk, { stream: true })));
        for (const data of waiting.splice(0)) {
          if (data === '[DONE]') {
            isDone = true;
            return;
          }
          const event = this.#told(data);
          isDone ||= event.choices?.some(({ finish_reason }: Loose) => finish_reason) ?? false;
          yield event;
        }
      }
      if (!isDone) throw new Error('its stream ended in the middle');
    } catch (error) {
      throw this.#failure(error, signal, 'broke off in the middle of its answer');
    } finally {
      // Behind the last event only the body's end is to come, and then the connection serves the next request.
      if (isDone) answer.body.resume();
      else answer.body.destroy();
    }
  }

  /** Ends every connection. */
  close(): void {
    this.#connections.close();
  }

  get #authorization(): Record<string, string> {
    return this.#key === undefined ? {} : { authorization: `Bearer ${this.#key}` };
  }

  async #get(url: string, headers: Record<string, string>, signal: AbortSignal) {
    const headTimeoutMs = LOOK_TIMEOUT_MS;
    try {
      const answer = await this.#connections.send({
        method: 'GET',
        url,
        headers: { ...PLAIN, ...headers },
        signal,
        headTimeoutMs,
      });
      return { status: answer.status, text: await this.#text(answer, headTimeoutMs, signal) };
    } catch (error) {
      throw this.#failure(error, signal);
    }
  }

  async #open(path: string, body: JsonObject, signal: AbortSignal): Promise<HttpAnswer> {
    try {
      const answer = await this.#connections.send({
        method: 'POST',
        url: `${this.url}${path}`,
        headers: { ...PLAIN, 'content-type': 'application/json', ...this.#authorization },
        body: jsonText(body),
        headTimeoutMs: this.#timeoutMs,
        silenceTimeoutMs: this.#timeoutMs,
        signal,
      });
      if (answer.status === 200) return answer;
      throw this.#refusal(answer.status, await this.#text(answer, this.#timeoutMs, signal), answer);
    } catch (error) {
      throw this.#failure(error, signal);
    }
  }

  async #text(answer: HttpAnswer, timeoutMs: number, signal: AbortSignal): Promise<string> {
    try {
      return await this.#connections.text(answer, timeoutMs, MAX_ANSWER_BYTES);
    } catch (error) {
      throw this.#failure(error, signal, 'broke off in the middle of its answer');
    }
  }

  /** What an answer or a part of one says; throws when that is an error, which can come under the status 200, too. */
  #told(text: string): Loose {
    const json = this.#parsed(text);
    const error = json.object === 'error' ? json : json.error;
    if (!error) return json;
    throw new AnyserveError(codeOf(statusOf(error)), `${this.url} answers with an error: ${this.#said(text)}`);
  }

  #parsed(text: string): Loose {
    let json: Loose;
    try {
      json = JSON.parse(text);
    } catch (cause) {
      throw this.stranger('no JSON', cause);
    }
    if (typeof json === 'object' && json !== null) return json;
    throw this.stranger('no JSON object');
  }

  /** What a connection's failure means to a caller; the signal's reason when it was we who ended it. */
  #failure(error: unknown, signal: AbortSignal, otherwise?: string): unknown {
    if (signal.aborted) return signal.reason;
    if (error instanceof AnyserveError) return error;
    const { code = '' } = error as { code?: string };
    if (code === 'ETIMEDOUT') {
      return new AnyserveError('deadline_exceeded', `${this.url}: no answer in time`, {
        cause: error,
      });
    }
    const reason = otherwise ?? REASONS[code] ?? messageOf(error);
    return new AnyserveError('unavailable', `${this.url}: ${reason}`, { cause: error });
  }

  /** What an answer that is an error means to a caller. */
  #refusal(status: number, body: string, answer?: HttpAnswer): AnyserveError {
    return new AnyserveError(
      codeOf(status),
      `${this.url} answers HTTP ${status}: ${this.#said(body)}${adviceFor(status, answer?.headers ?? {})}`,
    );
  }

  /** The failure of an answer that no OpenAI-compatible server gives. */
  stranger(what: string, cause?: unknown): AnyserveError {
    const message = `${this.url} answers, but not as an OpenAI-compatible server (${what}); check the URL`;
    return new AnyserveError('internal', message, { cause });
  }

  /** What an error's body says, without the key that it may say back. */
  #said(body: string): string {
    const said = saidIn(body);
    return (this.#key === undefined ? said : said.replaceAll(this.#key, '***')).slice(0, 1000);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ECONNRESET: 'closed the connection without an answer',
};

/** What to do about an answer that is an error, as far as it can be told. */
function adviceFor(status: number, headers: HttpAnswer['headers']): string {
  const { location, 'retry-after': retryAfter } = headers;
  if (status === 401) return '; give the worker a key in ANYSERVE_OPENAI_KEY or with --openai-key-file';
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
    `${JSON.stringify(text)} is no base URL of an OpenAI-compatible server; give one like http://localhost:8000/v1`,
  );
}

/** A key that a header can carry. What is wrong with one is said without showing it. */
function parseKey(text: string): string {
  if (/^[\x21-\x7e]+$/.test(text)) return text;
  throw new AnyserveError('usage', 'the key is empty, or has spaces or characters that no header can carry');
}
