import { explainTlsError } from '../client/tls-failure.js';
import { AnyserveError, getErrorMessage } from '../core/errors.js';
import type { HttpResponse } from '../http/http-client.js';
import { extractErrorMessage, UpstreamError } from '../inference/openai-errors.js';
import type { OpenaiSettings } from './openai-settings.js';
import { EngineTimeoutError } from './openai-stream.js';
import type { UpstreamProxy } from './upstream-proxy.js';

/** Limits and proxy that messages about failures name. */
export interface OpenaiFailuresOptions extends Pick<OpenaiSettings, 'timeoutMs' | 'idleTimeoutMs'> {
  readonly proxy?: UpstreamProxy | undefined;
}

/** Turns failures of an OpenAI-compatible server into errors that say what failed, where, and what to do. */
export class OpenaiFailures {
  readonly #url: string;
  readonly #options: OpenaiFailuresOptions;
  readonly #keysSent: () => readonly string[];

  /** `keysSent` returns the keys that an answer could repeat, and that no message shows. */
  constructor(url: string, options: OpenaiFailuresOptions, keysSent: () => readonly string[]) {
    this.#url = url;
    this.#options = options;
    this.#keysSent = keysSent;
  }

  /** Returns the failure of a connection as callers see it; the signal's reason when we ended it. */
  failure(error: unknown, signal: AbortSignal, otherwise?: string, late = this.#lateness()): unknown {
    if (signal.aborted) return signal.reason;
    if (error instanceof AnyserveError) {
      const isTold = error.message.startsWith(this.#url);
      return isTold ? error : new AnyserveError(error.code, `${this.#url}: ${error.message}`);
    }
    const { code = '', syscall } = error as NodeJS.ErrnoException;
    // A connection that the system gave up has a syscall; one that we gave up has not.
    const isLate = (code === 'ETIMEDOUT' && syscall === undefined) || error instanceof EngineTimeoutError;
    if (isLate) {
      const reason = error instanceof EngineTimeoutError && !error.isFirstByte ? this.#silence() : late;
      return new AnyserveError('deadline_exceeded', `${this.#place}: ${reason}`, { cause: error });
    }
    const tls = explainTlsError(error)?.replaceAll('--tls-', '--openai-tls-');
    const reason = tls ?? otherwise ?? REASONS[code] ?? getErrorMessage(error);
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
    return proxy ? `${this.#url}, through the proxy ${proxy.name}` : this.#url;
  }

  /** Returns the failure of an answer with an error status. */
  refusal(status: number, body: string, headers: HttpResponse['headers'], url = this.#url): UpstreamError {
    const place = this.#options.proxy && url === this.#url ? this.#place : url;
    const said = `${place} answers HTTP ${status}: ${this.said(body)}${adviceFor(status, headers)}`;
    return new UpstreamError(status, body, said);
  }

  /** Returns the failure of an answer that no OpenAI-compatible server gives. */
  stranger(what: string, cause?: unknown): AnyserveError {
    const message = `${this.#url} answers, but not as an OpenAI-compatible server (${what}); check the URL`;
    return new AnyserveError('internal', message, { cause });
  }

  /** Returns the message of an error's body, without a key that it repeats. */
  said(body: string): string {
    return this.withoutKeys(extractErrorMessage(body)).slice(0, 1000);
  }

  /** Returns a text without the keys that it repeats. */
  withoutKeys(text: string): string {
    return this.#keysSent().reduce((rest, key) => rest.replaceAll(key, '***'), text);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'no such host',
  ECONNRESET: 'closed the connection without an answer',
  ETIMEDOUT: 'no connection in time',
};

/** Returns what to do about an answer that is an error, as far as it can be told. */
function adviceFor(status: number, headers: HttpResponse['headers']): string {
  const { location, 'retry-after': retryAfter } = headers;
  if (status === 401) return '; give the worker a key in ANYSERVE_OPENAI_KEY or with --openai-key-file';
  if (status === 407) return '; give the proxy its user and password in the URL of HTTP_PROXY or HTTPS_PROXY';
  if (status < 400 && location !== undefined) return `; it points to ${location}, give the URL that this is below`;
  if (retryAfter === undefined) return '';
  return `; try again after ${retryAfter}${/^\d+$/.test(retryAfter) ? ' s' : ''}`;
}
