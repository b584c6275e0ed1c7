import { AnyserveError, getErrorMessage } from '../../core/errors.js';
import { toGetter } from '../../core/options.js';
import { explainTlsError } from '../../core/tls.js';
import type { HttpResponse } from '../../http/http-client.js';
import { extractErrorMessage, UpstreamError } from '../../inference/openai-errors.js';
import { explainConnectionError } from '../connection-errors.js';
import type { EngineSettings } from './engine-settings.js';
import type { UpstreamProxy } from './upstream-proxy.js';

/** TLS and proxy, for messages. */
interface OpenaiFailuresOptions extends Pick<EngineSettings, 'tls'> {
  readonly proxy?: UpstreamProxy | undefined;
}

/** Converts failures of an OpenAI-compatible server to errors with the cause, the place and the remedy. */
export class OpenaiFailures {
  readonly #url: string;
  readonly #options: OpenaiFailuresOptions;
  readonly #getSentKeys: () => readonly string[];
  #hasResponded = false;

  /** `getSentKeys` returns the keys to redact, because a response can repeat them. */
  constructor(url: string, options: OpenaiFailuresOptions, getSentKeys: () => readonly string[]) {
    this.#url = url;
    this.#options = options;
    this.#getSentKeys = getSentKeys;
  }

  /**
   * Converts the failure of a connection to an error for callers, or returns the signal's reason if we aborted it.
   * `timeoutReason` is the text for a timeout of ours, `reason` that for all other failures but those of TLS.
   */
  toConnectionError(error: unknown, signal: AbortSignal, timeoutReason: string, reason?: string): unknown {
    if (signal.aborted) return signal.reason;
    if (error instanceof AnyserveError) return this.addUrl(error);
    const { code = '', syscall } = error as NodeJS.ErrnoException;
    // The error has a syscall if the system timed out, and none if we did.
    if (code === 'ETIMEDOUT' && syscall === undefined) {
      return new AnyserveError('deadline_exceeded', `${this.#place}: ${timeoutReason}`, { cause: error });
    }
    const tls = explainTlsError(error)?.replaceAll('--tls-', '--openai-tls-');
    const advice = code === 'ECONNRESET' && !this.#hasResponded ? this.#adviseOnReset() : '';
    const text = tls ?? reason ?? `${explainConnectionError(error)}${advice}`;
    return new AnyserveError('unavailable', `${this.#place}: ${text}`, { cause: error });
  }

  /** Adds the server's URL to the message of an error that doesn't begin with it. */
  addUrl(error: AnyserveError): AnyserveError {
    const namesServer = error.message.startsWith(this.#url);
    return namesServer ? error : new AnyserveError(error.code, `${this.#url}: ${error.message}`);
  }

  /** Runs a function that parses a response, and adds the server's URL to its error. */
  addUrlToErrors<T>(parse: () => T): T {
    try {
      return parse();
    } catch (error) {
      if (error instanceof AnyserveError) throw this.addUrl(error);
      throw this.createIncompatibleError(getErrorMessage(error), error);
    }
  }

  /** Checks the head of a response. Throws `internal` for a compressed body, which is not what the request accepts. */
  checkResponse({ status, headers, body }: HttpResponse): void {
    this.#hasResponded = true;
    const encoding = getCompression(headers);
    if (status !== 200 || encoding === undefined) return;
    body.destroy();
    throw new AnyserveError(
      'internal',
      `its response is compressed (${encoding}), which the request does not accept; turn compression off in the server or its proxy`,
    );
  }

  /** Advice for a server that has closed each connection so far without a response. */
  #adviseOnReset(): string {
    if (!this.#url.startsWith('https:')) return '; does it use https?';
    return toGetter(this.#options.tls)?.().cert ? '; does it accept the certificate of --openai-tls-cert?' : '';
  }

  /** The server and the proxy in front of it, for messages. */
  get #place(): string {
    const { proxy } = this.#options;
    return proxy ? `${this.#url}, through the proxy ${proxy.name}` : this.#url;
  }

  /** Creates the error for a response with an error status. */
  createStatusError(status: number, body: string, headers: HttpResponse['headers'], url = this.#url): UpstreamError {
    const place = this.#options.proxy && url === this.#url ? this.#place : url;
    const text = getCompression(headers) === undefined ? body : '';
    const message = `${place} returned HTTP ${status}: ${this.extractMessage(text)}${formatAdvice(status, headers)}`;
    return new UpstreamError(status, text, message);
  }

  /** Creates the error for a response that no OpenAI-compatible server sends. */
  createIncompatibleError(problem: string, cause?: unknown): AnyserveError {
    const message = `${this.#url} is not an OpenAI-compatible server (${problem}); check the URL`;
    return new AnyserveError('internal', message, { cause });
  }

  /** Returns the message in the body of an error response, with keys redacted. */
  extractMessage(body: string): string {
    return this.redactKeys(extractErrorMessage(body)).slice(0, 1000);
  }

  /** Returns a string with all keys redacted. */
  redactKeys(text: string): string {
    return this.#getSentKeys().reduce((redacted, key) => redacted.replaceAll(key, '***'), text);
  }
}

/** Returns the compression of a response. Undefined if there is none. */
function getCompression({ 'content-encoding': encoding }: HttpResponse['headers']): string | undefined {
  return encoding === undefined || /^\s*(identity)?\s*$/i.test(encoding) ? undefined : encoding.slice(0, 64);
}

/** Returns advice for an error response, or an empty text. */
function formatAdvice(status: number, headers: HttpResponse['headers']): string {
  const { location, 'retry-after': retryAfter } = headers;
  if (status === 401) return '; give AnyServe the key in ANYSERVE_OPENAI_KEY or with --openai-key-file';
  if (status === 407) return '; give the proxy its user and password in the URL of HTTP_PROXY or HTTPS_PROXY';
  if (status < 400 && location !== undefined) return `; it redirects to ${location}, use the base URL of that`;
  if (retryAfter === undefined) return '';
  return `; try again after ${retryAfter}${/^\d+$/.test(retryAfter) ? ' s' : ''}`;
}
