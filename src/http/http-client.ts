import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import { addAbortSignal, type Readable } from 'node:stream';
import { ByteCollector, decodeUtf8 } from '../core/byte-collector.js';
import { type ClientTls, MIN_TLS_VERSION } from '../core/tls.js';
import { createTlsVerification } from './tls-verification.js';

/** A forward proxy for the requests of one set of connections. */
export interface HttpProxy {
  /** Makes a tunnel through the proxy to an https URL. */
  readonly tunnel?: HttpAgent;
  /** Where to ask for a plain http URL, and the headers that the proxy wants. */
  readonly forward?: { readonly url: URL; readonly headers: Readonly<Record<string, string>> };
}

/** A request to send. */
export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** How long the answer's head may take, from the first lookup of the host on. */
  readonly headTimeoutMs: number;
  /** How long the body may say nothing before it breaks off with `ETIMEDOUT`; for ever unless told. */
  readonly silenceTimeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose head has arrived; the body comes as it is read. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The address that answers: `127.0.0.1:8080`, `[::1]:8080`. */
  readonly peer: string;
  readonly body: Readable;
}

/**
 * If a kept connection breaks within this time, it was already closing when we sent, and the request is sent again.
 * Later, the request itself failed.
 */
const CROSSING_MS = 250;

/** HTTP with connections of its own, so that closing it leaves none behind: a pool that belongs to all can't be closed. */
export class HttpConnections {
  readonly #http = new HttpAgent({ keepAlive: true });
  #https: HttpsAgent | undefined;
  readonly #tls: () => ClientTls;

  readonly #proxy: HttpProxy | undefined;

  /** Looks up for each request whom to trust and what to show; a connection is kept for requests with the same. */
  constructor(tls: () => ClientTls = () => ({}), proxy?: HttpProxy) {
    this.#tls = tls;
    this.#proxy = proxy;
  }

  /**
   * Sends a request, again when a connection kept from before was closed by the other end in that very moment: an end that
   * stopped has closed all those that were kept. Rejects with the socket's error, or with `ETIMEDOUT` when the head takes
   * too long.
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const crossing = AbortSignal.timeout(CROSSING_MS);
    for (;;) {
      try {
        return await this.#sendOnce(request);
      } catch (error) {
        const { code, onKeptConnection } = error as { code?: string; onKeptConnection?: boolean };
        if (code !== 'ECONNRESET' || !onKeptConnection || crossing.aborted) throw error;
      }
    }
  }

  #sendOnce({
    method,
    url,
    headers,
    body,
    headTimeoutMs,
    silenceTimeoutMs = 0,
    signal,
  }: HttpRequest): Promise<HttpResponse> {
    return new Promise((resolve, reject) => {
      const options = {
        method,
        headers: body === undefined ? headers : { ...headers, 'content-length': Buffer.byteLength(body) },
        signal,
      };
      const request = url.startsWith('https:') ? this.#securely(url, options) : this.#plainly(url, options);
      const deadline = AbortSignal.timeout(Math.ceil(headTimeoutMs));
      const onDeadline = (): void => void request.destroy(timedOut());
      deadline.addEventListener('abort', onDeadline, { once: true });
      const settled = (): void => deadline.removeEventListener('abort', onDeadline);
      request.once('error', (error) => {
        settled();
        reject(Object.assign(error, { onKeptConnection: request.reusedSocket }));
      });
      request.once('response', (response: IncomingMessage) => {
        settled();
        response.setTimeout(silenceTimeoutMs, () => response.destroy(timedOut()));
        const peer = peerOf(response);
        resolve({ status: response.statusCode ?? 0, headers: response.headers, peer, body: response });
      });
      request.end(body);
    });
  }

  /** Sends it as plain HTTP; a proxy is asked for the whole URL. */
  #plainly(url: string, options: RequestOptions): ClientRequest {
    const { forward } = this.#proxy ?? {};
    if (!forward) return httpRequest(url, { ...options, agent: this.#http });
    const headers = { host: new URL(url).host, ...options.headers, ...forward.headers };
    const asked = { ...options, headers, path: url };
    if (forward.url.protocol === 'http:') return httpRequest(forward.url, { ...asked, agent: this.#http });
    return process.getBuiltinModule('node:https').request(forward.url, { ...asked, agent: this.#secureAgent() });
  }

  /** Sends it over TLS, for which Node's modules are loaded only here: a command asks once and ends. */
  #securely(url: string, options: RequestOptions): ClientRequest {
    const agent = this.#proxy?.tunnel ?? this.#secureAgent();
    const tls = this.#tls();
    const security = { ...tls, ...createTlsVerification(tls), minVersion: MIN_TLS_VERSION } as const;
    return process.getBuiltinModule('node:https').request(url, { ...options, ...security, agent });
  }

  #secureAgent(): HttpsAgent {
    const https = process.getBuiltinModule('node:https');
    this.#https ??= new https.Agent({ keepAlive: true, minVersion: MIN_TLS_VERSION });
    return this.#https;
  }

  /** Reads a whole body. Rejects with `ETIMEDOUT` when that takes too long, and when it is larger than allowed. */
  async readText(answer: HttpResponse, timeoutMs: number, maxBytes: number): Promise<string> {
    const { text, isWhole } = await readBody(answer.body, timeoutMs, maxBytes);
    if (!isWhole) throw new ResponseTooLongError(`it has more than ${maxBytes} bytes`);
    return text;
  }

  /** Reads at most the beginning of a body, as much as is worth showing of an error. Rejects with `ETIMEDOUT`. */
  async readPrefix(answer: HttpResponse, timeoutMs: number, maxBytes: number): Promise<string> {
    return (await readBody(answer.body, timeoutMs, maxBytes)).text;
  }

  /** Ends every connection, those in use too. */
  close(): void {
    this.#http.destroy();
    this.#https?.destroy();
    this.#proxy?.tunnel?.destroy();
  }
}

function peerOf({ socket }: IncomingMessage): string {
  const { remoteAddress = 'unknown', remotePort } = socket;
  return `${remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

/** A body that holds more than was to be read of it. */
export class ResponseTooLongError extends Error {
  override readonly name = 'ResponseTooLongError';
}

/** Reads a body to its end, or until it has too many bytes or takes too long; then its connection is closed. */
async function readBody(
  body: Readable,
  timeoutMs: number,
  maxBytes: number,
): Promise<{ readonly text: string; readonly isWhole: boolean }> {
  const deadline = AbortSignal.timeout(Math.ceil(timeoutMs));
  addAbortSignal(deadline, body);
  const read = new ByteCollector();
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      read.add(chunk);
      // Leaving the loop closes the connection.
      if (read.length > maxBytes) break;
    }
  } catch (error) {
    throw deadline.aborted ? timedOut() : error;
  }
  return { text: decodeUtf8(read.bytes.subarray(0, maxBytes)), isWhole: read.length <= maxBytes };
}

function timedOut(): NodeJS.ErrnoException {
  return Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' });
}
