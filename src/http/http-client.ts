import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import type { Agent as HttpsAgent } from 'node:https';
import { addAbortSignal, type Duplex, type Readable } from 'node:stream';
import { ByteCollector, decodeUtf8 } from '../core/byte-collector.js';
import { type ClientTls, createTlsVerification, MIN_TLS_VERSION } from '../core/tls.js';

/** A forward proxy for all requests of a client. */
export interface HttpProxy {
  /** Agent that tunnels requests for https URLs through the proxy. */
  readonly tunnel?: HttpAgent;
  /** The proxy's URL for http requests, and headers such as its credentials. */
  readonly forward?: { readonly url: URL; readonly headers: Readonly<Record<string, string>> };
}

/** A request to send. */
export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  /** Request target to send as it is. Default: the path of the URL, which becomes shorter if it has `.` or `..` segments. */
  readonly target?: string | undefined;
  /** IP address to connect to, if the URL's host name has several. Default: one that the operating system chooses. */
  readonly address?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Protocol to switch to, if the server supports it. */
  readonly upgrade?: string | undefined;
  /** Timeout for the response headers, in ms, including the DNS lookup. */
  readonly headTimeoutMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Whether the process can exit before the end of the response. Default: false. */
  readonly isBackground?: boolean | undefined;
}

/** A response whose headers have arrived. The body is a stream. */
export interface HttpResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Address of the server: `127.0.0.1:8080`, `[::1]:8080`. */
  readonly peer: string;
  readonly body: Readable;
  /** The connection, if the server has switched to the protocol that was asked for. The body is the same stream. */
  readonly upgraded?: Duplex | undefined;
}

/**
 * Maximum time until the reset of a reused connection after which its request is sent again, in ms. The server was already
 * closing the connection. After a later reset, the request itself has failed.
 */
const STALE_CONNECTION_MS = 250;

/** An HTTP client with its own connection pool, which {@link close} can therefore close. */
export class HttpConnections {
  readonly #http = new HttpAgent({ keepAlive: true });
  #https: HttpsAgent | undefined;
  readonly #tls: () => ClientTls;
  readonly #proxy: HttpProxy | undefined;

  /** Calls `tls` for each https request. Connections are reused only between requests with the same TLS settings. */
  constructor(tls: () => ClientTls = () => ({}), proxy?: HttpProxy) {
    this.#tls = tls;
    this.#proxy = proxy;
  }

  /**
   * Sends a request and resolves when the response headers arrive. Sends it again if a reused connection was reset at
   * the same moment, repeatedly if needed: a server that has stopped closes all idle connections. Rejects with the
   * socket's error, or with `ETIMEDOUT` after `headTimeoutMs`.
   */
  async send(request: HttpRequest): Promise<HttpResponse> {
    const retryDeadline = AbortSignal.timeout(STALE_CONNECTION_MS);
    for (;;) {
      try {
        return await this.#sendOnce(request);
      } catch (error) {
        const { code, isReusedSocket } = error as { code?: string; isReusedSocket?: boolean };
        if (code !== 'ECONNRESET' || !isReusedSocket || retryDeadline.aborted) throw error;
      }
    }
  }

  #sendOnce(sent: HttpRequest): Promise<HttpResponse> {
    const { method, url, target, address, body, upgrade, headTimeoutMs, signal, isBackground } = sent;
    return new Promise((resolve, reject) => {
      const { hostname } = new URL(url);
      const options = {
        method,
        headers: createHeaders(sent),
        signal,
        ...(target !== undefined && { path: target }),
        ...(address !== undefined && { hostname: address, servername: hostname }),
      };
      const request = url.startsWith('https:')
        ? this.#createHttpsRequest(url, options)
        : this.#createHttpRequest(url, options);
      const deadline = AbortSignal.timeout(Math.ceil(headTimeoutMs));
      const onDeadline = (): void => void request.destroy(createTimeoutError());
      deadline.addEventListener('abort', onDeadline, { once: true });
      const clearDeadline = (): void => deadline.removeEventListener('abort', onDeadline);
      request.once('error', (error) => {
        clearDeadline();
        reject(Object.assign(error, { isReusedSocket: request.reusedSocket }));
      });
      request.once('response', (response: IncomingMessage) => {
        clearDeadline();
        resolve(toHttpResponse(response, response));
      });
      if (upgrade !== undefined) {
        request.once('upgrade', (response: IncomingMessage, socket: Duplex, head: Buffer) => {
          clearDeadline();
          resolve(toUpgradedResponse(response, socket, head));
        });
      }
      // The agent refs the socket again when another request reuses it.
      if (isBackground) request.once('socket', (socket) => socket.unref());
      request.end(body);
    });
  }

  /** Creates a request without TLS. Sends the whole URL as the target if there is a proxy (RFC 9112, section 3.2.2). */
  #createHttpRequest(url: string, options: RequestOptions): ClientRequest {
    const { forward } = this.#proxy ?? {};
    if (!forward) return httpRequest(url, { ...options, agent: this.#http });
    const headers = { host: new URL(url).host, ...options.headers, ...forward.headers };
    const proxyOptions = { ...options, headers, path: url };
    if (forward.url.protocol === 'http:') return httpRequest(forward.url, { ...proxyOptions, agent: this.#http });
    return process
      .getBuiltinModule('node:https')
      .request(forward.url, { ...proxyOptions, agent: this.#getHttpsAgent() });
  }

  /** Creates a request over TLS. Loads Node's TLS modules on first use, which keeps short commands fast. */
  #createHttpsRequest(url: string, options: RequestOptions): ClientRequest {
    const agent = this.#proxy?.tunnel ?? this.#getHttpsAgent();
    const tls = this.#tls();
    const tlsOptions = { ...tls, ...createTlsVerification(tls), minVersion: MIN_TLS_VERSION } as const;
    return process.getBuiltinModule('node:https').request(url, { ...options, ...tlsOptions, agent });
  }

  #getHttpsAgent(): HttpsAgent {
    const https = process.getBuiltinModule('node:https');
    this.#https ??= new https.Agent({ keepAlive: true, minVersion: MIN_TLS_VERSION });
    return this.#https;
  }

  /**
   * Reads a whole body. Rejects with `ETIMEDOUT` after the timeout, and with {@link ResponseTooLongError} over the
   * limit.
   */
  async readText(response: HttpResponse, timeoutMs: number, maxBytes: number): Promise<string> {
    const { text, isComplete } = await readResponseBody(response.body, timeoutMs, maxBytes);
    if (!isComplete) throw new ResponseTooLongError(`the response has more than ${maxBytes} bytes`);
    return text;
  }

  /**
   * Reads at most `maxBytes` of a body, for example of an error to show. Rejects with `ETIMEDOUT` after the timeout.
   */
  async readPrefix(response: HttpResponse, timeoutMs: number, maxBytes: number): Promise<string> {
    return (await readResponseBody(response.body, timeoutMs, maxBytes)).text;
  }

  /** Closes all connections, including those in use. */
  close(): void {
    this.#http.destroy();
    this.#https?.destroy();
    this.#proxy?.tunnel?.destroy();
  }
}

function createHeaders({ url, address, headers, body, upgrade }: HttpRequest): Record<string, string | number> {
  return {
    ...(address !== undefined && { host: new URL(url).host }),
    ...headers,
    ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
    ...(upgrade !== undefined && { connection: 'Upgrade', upgrade }),
  };
}

function toHttpResponse(response: IncomingMessage, body: Readable): HttpResponse {
  // The agent can leave the timeout of an idle connection on a socket that it reuses.
  response.setTimeout(0);
  return { status: response.statusCode ?? 0, headers: response.headers, peer: formatPeer(response), body };
}

/** Creates the response of a server that has switched protocols. `head` are the first bytes of the new protocol. */
function toUpgradedResponse(response: IncomingMessage, socket: Duplex, head: Buffer): HttpResponse {
  // The reader of the stream gets the error too.
  socket.on('error', () => {});
  if (head.length > 0) socket.unshift(head);
  return { ...toHttpResponse(response, socket), upgraded: socket };
}

function formatPeer({ socket }: IncomingMessage): string {
  const { remoteAddress = 'unknown', remotePort } = socket;
  return `${remoteAddress.includes(':') ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

/** Error for a response body over the size limit. */
export class ResponseTooLongError extends Error {
  override readonly name = 'ResponseTooLongError';
}

/** Reads a body until its end. Closes the connection at the size limit and at the timeout. */
async function readResponseBody(
  body: Readable,
  timeoutMs: number,
  maxBytes: number,
): Promise<{ readonly text: string; readonly isComplete: boolean }> {
  const deadline = AbortSignal.timeout(Math.ceil(timeoutMs));
  addAbortSignal(deadline, body);
  const collector = new ByteCollector();
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      collector.add(chunk);
      // Leaving the loop destroys the stream, which closes the connection.
      if (collector.length > maxBytes) break;
    }
  } catch (error) {
    throw deadline.aborted ? createTimeoutError() : error;
  }
  return { text: decodeUtf8(collector.bytes.subarray(0, maxBytes)), isComplete: collector.length <= maxBytes };
}

function createTimeoutError(): NodeJS.ErrnoException {
  return Object.assign(new Error('no response in time'), { code: 'ETIMEDOUT' });
}
